//! Redis, without persistence: what it held is gone after a restart.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use crate::container::{self, Container};
use crate::server::{Body, Recipe, Server};
use crate::spawn;

/// A running `redis-server`.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Redis {
    /// Starts it on this port, with its files in `dir`, which is there.
    pub(crate) fn start_in(dir: &Path, port: u16) -> anyhow::Result<Redis> {
        let server = Server::launch(Recipe {
            name: "Redis",
            body: if container::wanted() { container(port)? } else { process(dir.to_path_buf(), port)? },
            ready: Box::new(move || ping(port).is_ok_and(|pong| pong)),
            log: dir.join("redis.log"),
            stop: Signal::TERM,
            discard: Signal::KILL,
        })?;
        Ok(Redis { server, port })
    }

    /// Its address as the services take it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn process(data: PathBuf, port: u16) -> anyhow::Result<Body> {
    let program =
        spawn::in_path("redis-server").context("redis-server is not installed (devstack/install does that)")?;
    Ok(Body::Process(Box::new(move || {
        let mut command = spawn::command(&program, None);
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&data);
        command
    })))
}

fn container(port: u16) -> anyhow::Result<Body> {
    let command = ["redis-server", "--save", "", "--appendonly", "no"];
    Container::new(container::REDIS, (port, 6379), &[], &command).map(Body::Container)
}

fn ping(port: u16) -> std::io::Result<bool> {
    let patience = Duration::from_millis(500);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}
