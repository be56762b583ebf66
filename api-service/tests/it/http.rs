//! HTTP by hand, for requests that no client library sends.

use std::io::ErrorKind;
use std::net::SocketAddr;

use devstack::kit::TEST_TIMEOUT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub(crate) const LIVE: &str = "GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n";

pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// A connection on which this text was sent.
    pub(crate) async fn send(address: SocketAddr, text: &str) -> Self {
        let mut raw = Self::connect(address).await;
        raw.write(text).await;
        raw
    }

    /// A connection with a small receive buffer.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Closes the sending side (FIN).
    pub(crate) async fn half_close(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Closes the connection with a reset (RST).
    pub(crate) fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }

    /// Writes until the server closes the connection; true if everything was written.
    pub(crate) async fn write_as_far_as_it_goes(&mut self, bytes: &[u8]) -> bool {
        timeout(TEST_TIMEOUT, self.0.write_all(bytes)).await.expect("it is not closed").is_ok()
    }

    /// Reads until the connection is closed or reset.
    pub(crate) async fn read_to_the_end(&mut self) -> String {
        let mut all = Vec::new();
        match timeout(TEST_TIMEOUT, self.0.read_to_end(&mut all)).await.expect("it is not closed") {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => String::from_utf8(all).unwrap(),
        }
    }

    /// Reads until the server closes the connection.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        timeout(TEST_TIMEOUT, self.0.read_to_end(&mut all)).await.expect("it is not closed").unwrap();
        String::from_utf8(all).unwrap()
    }

    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let mut part = [0; 4096];
            let read = timeout(TEST_TIMEOUT, self.0.read(&mut part)).await.expect("no answer").unwrap();
            assert!(read > 0, "closed before {text}: {all}");
            all.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        all
    }

    pub(crate) async fn read_answer(&mut self) -> String {
        let mut all = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&all).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return text;
                }
            }
            let mut part = [0; 4096];
            let read = timeout(TEST_TIMEOUT, self.0.read(&mut part)).await.expect("no answer").unwrap();
            assert!(read > 0, "closed in the middle of an answer: {text}");
            all.extend_from_slice(&part[..read]);
        }
    }
}

/// The headers of a `POST /events` with a body of this length.
pub(crate) fn post(token: &str, length: usize) -> String {
    format!(
        "POST /events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}
