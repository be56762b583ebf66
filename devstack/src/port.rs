//! Ports for servers that go away and come back.
//!
//! They are taken from below the kernel's ephemeral range: a client that keeps trying to reach a
//! stopped server there could be given the server's own port for its end of the connection, and
//! then speak to itself or keep the server from coming back.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

const RANGE: Range<u16> = 18_000..32_000;

static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port of 127.0.0.1 that nobody listens on. One process never gets the same one twice.
pub fn free() -> u16 {
    loop {
        let port = fastrand::u16(RANGE);
        if claim(port) {
            return port;
        }
    }
}

/// Whether something listens on this port of 127.0.0.1 (or on all addresses) already.
pub fn in_use(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// Takes this very port, where nobody listens on it and it was not handed out before.
pub fn claim(port: u16) -> bool {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = taken.get_or_insert_with(HashSet::new);
    !taken.contains(&port) && !in_use(port) && taken.insert(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_the_same_port_twice() {
        let ports: HashSet<u16> = (0..500).map(|_| free()).collect();
        assert_eq!(ports.len(), 500);
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
}
