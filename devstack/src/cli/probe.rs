//! One HTTP request, as small as it gets.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Whether `GET /health/ready` on this port of 127.0.0.1 answers 200.
pub(crate) fn ready(port: u16) -> bool {
    get(port).is_ok_and(|head| head.split(' ').nth(1) == Some("200"))
}

fn get(port: u16) -> std::io::Result<String> {
    let patience = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 15];
    stream.read_exact(&mut head)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}
