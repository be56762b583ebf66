//! Ports for servers that are stopped and restarted.
//!
//! They are below the kernel's ephemeral range. Otherwise a client that keeps reconnecting to a stopped server
//! could get the server's own port as its local port, and then talk to itself or keep the server from
//! restarting.
//!
//! A port that was handed out is reserved while this process lives, by a UDP socket with the same number; no
//! server here uses UDP. So no other process gets the port before its server starts or while it is stopped.
//! The kernel removes the reservation however this process ends.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

const RANGE: Range<u16> = 18_000..32_000;

static MARKS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A free port of 127.0.0.1. It is not handed out again, here or in another process, while this process
/// lives.
pub fn free() -> u16 {
    loop {
        let port = fastrand::u16(RANGE);
        if claim(port) {
            return port;
        }
    }
}

/// Whether something already listens on this port of 127.0.0.1 or of all addresses.
pub fn in_use(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// The port of a URL, with or without a path.
pub fn of(url: &str) -> anyhow::Result<u16> {
    let address = url.split("://").nth(1).and_then(|rest| rest.split('/').next());
    let port = address.and_then(|address| address.rsplit_once(':')?.1.parse().ok());
    port.with_context(|| format!("no port in the URL {url}"))
}

/// The same URL with another port.
pub fn replaced(url: &str, port: u16) -> anyhow::Result<String> {
    Ok(url.replacen(&format!(":{}", of(url)?), &format!(":{port}"), 1))
}

/// Sends this to a port of 127.0.0.1 and returns the whole answer until the other side closes.
pub fn ask(port: u16, question: &str, timeout: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Reserves this port if nothing listens on it and it was not handed out before.
pub fn claim(port: u16) -> bool {
    let Ok(mark) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { return false };
    if in_use(port) {
        return false;
    }
    MARKS.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
    true
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn never_the_same_port_twice() {
        let ports: HashSet<u16> = (0..200).map(|_| free()).collect();
        assert_eq!(ports.len(), 200);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }

    #[test]
    fn a_port_is_claimed_once_and_only_while_nobody_listens() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(in_use(port));
        assert!(!claim(port));
        drop(listener);
        assert!(claim(port) && !claim(port));
    }

    #[test]
    fn what_another_process_was_given_is_not_given_again() {
        // Simulate another process: processes see only each other's UDP sockets.
        let (mark, port) = loop {
            let port = fastrand::u16(RANGE);
            if let Ok(mark) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
                break (mark, port);
            }
        };
        assert!(!claim(port));
        drop(mark);
        assert!(claim(port) || in_use(port), "with its process it is gone");
        assert!(!claim(port));
    }
}
