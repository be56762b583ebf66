//! PgBouncer in front of a PostgreSQL, as a transaction pooler.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use crate::dir::StackDir;
use crate::port;
use crate::postgres::{account, data_dir, hand_over, psql};
use crate::server::{Recipe, Server};
use crate::spawn::{self, Account};

/// Debian's path; its folder is often not in a user's `PATH`.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

#[derive(Debug)]
pub struct PgBouncer {
    pub(crate) server: Server,
    pub port: u16,
}

impl PgBouncer {
    /// Starts a pooler for the PostgreSQL on this port, with this many connections to each database.
    pub fn start(postgres: u16, connections: u32) -> anyhow::Result<PgBouncer> {
        let (dir, port, account) = (StackDir::create()?, port::free(), account()?);
        let program = spawn::in_path("pgbouncer").unwrap_or_else(|| PathBuf::from(PROGRAM));
        ensure!(program.is_file(), "PgBouncer is not installed (devstack/install does that)");
        let folder = data_dir(dir.path(), account)?;
        let users = folder.join("users.txt");
        let settings = folder.join("pgbouncer.ini");
        // No password: like its server, it only listens on this machine.
        write(&users, "\"postgres\" \"\"\n", account)?;
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={postgres}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {users}\nadmin_users = postgres\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 1000\n\
             server_login_retry = 1\n",
            users = users.display(),
        );
        write(&settings, &text, account)?;
        let url = format!("postgres://postgres@127.0.0.1:{port}/pgbouncer?connect_timeout=2");
        let server = Server::launch(Recipe {
            name: "PgBouncer",
            port,
            command: Box::new(move || {
                let mut command = spawn::command(&program, account);
                command.arg(&settings);
                command
            }),
            stop: Signal::INT,
            discard: Signal::KILL,
            ready: Box::new(move || psql(&url, "SHOW VERSION").map(drop)),
            log: dir.path().join("pgbouncer.log"),
            dir,
        })?;
        Ok(PgBouncer { server, port })
    }

    /// The pooler's URL of a database, from its direct URL.
    pub fn url(&self, direct: &str) -> anyhow::Result<String> {
        port::replaced(direct, self.port)
    }
}

/// Writes a file that only the pooler's user can read.
fn write(file: &Path, text: &str, account: Option<Account>) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    hand_over(file, 0o600, account)
}
