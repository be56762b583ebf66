//! A TCP proxy between a service and a server, which can cut or delay the traffic.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::port;

const CONNECT: Duration = Duration::from_secs(2);

/// Forwards everything by default. Its threads end with their connections.
#[derive(Debug)]
pub struct Proxy {
    /// The port on which it listens, on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    server: AtomicU16,
    cut: AtomicBool,
    hold_questions: AtomicBool,
    hold_answers: AtomicBool,
    delay_micros: AtomicU64,
    /// How often the open connections were silenced.
    silences: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A proxy in front of this port of 127.0.0.1.
    pub fn to(server: u16) -> io::Result<Proxy> {
        let port = port::free();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let shared = Arc::new(Shared { server: AtomicU16::new(server), ..Shared::default() });
        let accepting = Arc::clone(&shared);
        thread::Builder::new().name("proxy".into()).spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that cannot be forwarded is closed, like a cut one.
                let _ = accepting.pass(client);
            }
        })?;
        Ok(Proxy { port, shared })
    }

    /// A proxy in front of the server of a URL, and the URL that leads through it.
    pub fn before(url: &str) -> anyhow::Result<(Proxy, String)> {
        let proxy = Proxy::to(port::of(url)?)?;
        let url = port::replaced(url, proxy.port)?;
        Ok((proxy, url))
    }

    /// Closes every connection, and each new one immediately.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.drop_connections();
    }

    /// Closes every connection; new ones are forwarded.
    pub fn drop_connections(&self) {
        self.shared.drop_connections();
    }

    /// Forwards new connections to this port of 127.0.0.1, like a DNS name that now resolves to another server. Open
    /// connections stay as they are.
    pub fn lead_to(&self, server: u16) {
        self.shared.server.store(server, Ordering::SeqCst);
    }

    pub fn slow(&self, delay: Duration) {
        self.shared.delay_micros.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Holds the data of both sides from now on; connections stay open. `mend` forwards the held data, to the
    /// server even if the client has given up by then.
    pub fn hold(&self) {
        self.shared.hold_questions.store(true, Ordering::SeqCst);
        self.hold_answers();
    }

    /// Holds the server's answers: it executes requests, but the client gets no response.
    pub fn hold_answers(&self) {
        self.shared.hold_answers.store(true, Ordering::SeqCst);
    }

    /// Permanently drops all data on the open connections, like a firewall that lost their state. New ones work.
    pub fn silence_connections(&self) {
        self.shared.silences.fetch_add(1, Ordering::SeqCst);
    }

    /// Forwards everything again without delay, except on silenced connections.
    pub fn mend(&self) {
        self.shared.hold_questions.store(false, Ordering::SeqCst);
        self.shared.hold_answers.store(false, Ordering::SeqCst);
        self.slow(Duration::ZERO);
        self.shared.cut.store(false, Ordering::SeqCst);
    }
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_connections(&self) {
        for connection in self.connections().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn pass(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        if self.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        let server = TcpStream::connect_timeout(
            &SocketAddr::from((Ipv4Addr::LOCALHOST, self.server.load(Ordering::SeqCst))),
            CONNECT,
        )?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        {
            let mut connections = self.connections();
            // Remove ended connections whenever a new one arrives.
            connections.retain(|connection| connection.peer_addr().is_ok());
            connections.extend([client.try_clone()?, server.try_clone()?]);
        }
        let silences = self.silences.load(Ordering::SeqCst);
        for (from, to, answers) in [(client.try_clone()?, server.try_clone()?, false), (server, client, true)] {
            let shared = Arc::clone(self);
            thread::Builder::new().name("proxy".into()).spawn(move || {
                let held = if answers { &shared.hold_answers } else { &shared.hold_questions };
                let _ = shared.copy(&from, &to, held, silences);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            })?;
        }
        // The proxy may have been cut while this connected.
        if self.cut.load(Ordering::SeqCst) {
            self.drop_connections();
        }
        Ok(())
    }

    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream, held: &AtomicBool, silences: u64) -> io::Result<()> {
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let read = from.read(&mut buffer)?;
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { return Ok(()) };
            let delay = self.delay_micros.load(Ordering::SeqCst);
            if delay > 0 {
                thread::sleep(Duration::from_micros(delay));
            }
            // Keep reading a silenced connection to notice its end, but discard the data.
            if self.silences.load(Ordering::SeqCst) > silences {
                continue;
            }
            while held.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            to.write_all(piece)?;
        }
    }
}
