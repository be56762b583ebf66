//! Redis without persistence: a restart loses its data.

mod forgetting;
mod replica;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use crate::dir::StackDir;
use crate::server::{Recipe, Server};
use crate::tls::Certificates;
use crate::{port, spawn};

/// Arguments that disable persistence. A replica writes what it copies from its primary to a file, and would keep that
/// file and load it when it is started again.
const FORGETFUL: [&str; 6] = ["--save", "", "--appendonly", "no", "--rdb-del-sync-files", "yes"];

/// How long it may take to answer whether it is ready; then it is asked again.
const READY: Duration = Duration::from_millis(500);
/// How long a command may take on a busy machine.
const COMMAND: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Redis {
    pub(crate) server: Server,
    pub port: u16,
    /// The TLS port, if it has one.
    pub tls_port: Option<u16>,
    /// Its folder.
    data: PathBuf,
}

impl Redis {
    /// Starts a Redis without the other servers, with these additional arguments. Dropping it kills it.
    pub fn start(more: &[&str]) -> anyhow::Result<Redis> {
        Redis::start_on(port::free(), more)
    }

    /// The same on this port, which must be free.
    pub fn start_on(port: u16, more: &[&str]) -> anyhow::Result<Redis> {
        let dir = StackDir::create()?;
        let more = more.iter().map(|&arg| arg.to_owned()).collect();
        Redis::start_with(&dir, dir.path(), port, more)
    }

    /// The same with an additional TLS port, for the name `localhost`.
    pub fn start_with_tls(certificates: &Certificates, more: &[&str]) -> anyhow::Result<Redis> {
        let port = port::free();
        let Certificates { authority, certificate, key, .. } = certificates;
        let files = [authority, certificate, key].map(|file| file.to_string_lossy().into_owned());
        let [authority, certificate, key] = files.each_ref().map(String::as_str);
        let port_text = port.to_string();
        let tls = ["--tls-port", &port_text, "--tls-auth-clients", "no", "--tls-ca-cert-file", authority];
        let all = [&tls[..], &["--tls-cert-file", certificate, "--tls-key-file", key], more].concat();
        Ok(Redis { tls_port: Some(port), ..Redis::start(&all)? })
    }

    /// Starts it with its files in an existing folder inside `of`.
    pub(crate) fn start_with(of: &Arc<StackDir>, dir: &Path, port: u16, more: Vec<String>) -> anyhow::Result<Redis> {
        let program =
            spawn::in_path("redis-server").context("redis-server is not installed (devstack/install does that)")?;
        let data = dir.to_path_buf();
        let server = Server::launch(Recipe {
            name: "Redis",
            port,
            command: Box::new(move || {
                let mut command = spawn::command(&program, None);
                command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
                command.args(FORGETFUL).arg("--dir").arg(&data).args(&more);
                command
            }),
            stop: Signal::TERM,
            discard: Signal::KILL,
            ready: Box::new(move || {
                ensure!(ask_within(READY, port, "PING")? == "+PONG\r\n", "it does not answer PING");
                Ok(())
            }),
            log: dir.join("redis.log"),
            dir: Arc::clone(of),
        })?;
        Ok(Redis { server, port, tls_port: None, data: dir.to_path_buf() })
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Sends one command and returns the raw answer.
pub(crate) fn ask(port: u16, command: &str) -> std::io::Result<String> {
    ask_within(COMMAND, port, command)
}

fn ask_within(timeout: Duration, port: u16, command: &str) -> std::io::Result<String> {
    // The server closes the connection after its answer to QUIT.
    let answer = port::ask(port, &format!("{command}\r\nQUIT\r\n"), timeout)?;
    Ok(answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned())
}
