//! An issuer of tokens: publishes keys on a port of its own, and counts who asks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use devstack::token::{Signer, jwks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Default)]
struct State {
    answer: Mutex<String>,
    asked: AtomicUsize,
}

pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    serving: Option<JoinHandle<()>>,
}

impl Issuer {
    pub(crate) async fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut issuer = Self { address, state: Arc::default(), serving: None };
        issuer.publish(signers);
        issuer.serve(listener);
        issuer
    }

    /// One that is down until [`up`](Self::up).
    pub(crate) fn down_at_first() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], devstack::port::free()));
        Self { address, state: Arc::default(), serving: None }
    }

    fn serve(&mut self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        self.serving = Some(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, Arc::clone(&state)));
            }
        }));
    }

    pub(crate) async fn up(&mut self) {
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    pub(crate) fn down(&mut self) {
        self.serving.take().unwrap().abort();
    }

    pub(crate) fn publish(&self, signers: &[&Signer]) {
        self.say("200 OK", "", &jwks(signers).unwrap());
    }

    pub(crate) fn say(&self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
        *self.state.answer.lock().unwrap() = answer;
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// As a setting.
    pub(crate) fn url(&self) -> String {
        format!("--jwt-jwks-url=http://{}/keys", self.address)
    }
}

async fn answer(mut stream: TcpStream, state: Arc<State>) {
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(read @ 1..) => request.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
    state.asked.fetch_add(1, Ordering::SeqCst);
    let answer = state.answer.lock().unwrap().clone();
    let _ = stream.write_all(answer.as_bytes()).await;
}
