//! PostgreSQL with its default durability: committed data survives a crash.

mod cluster;
mod standby;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use crate::dir::{ELSEWHERE, StackDir};
use crate::disk::SmallDisk;
use crate::port;
use crate::server::{Recipe, Server};
use crate::spawn::{self, Account};
use crate::tls::Certificates;

/// Shared by all test clusters.
pub(crate) const SETTINGS: [&str; 3] = ["max_connections=300", "timezone=UTC", "log_timezone=UTC"];

/// Its log file, in its folder.
const LOG: &str = "postgres.log";

/// A running, separate PostgreSQL cluster. `freeze` and `kill` apply to the postmaster and all its backends.
#[derive(Debug)]
pub struct Postgres {
    pub(crate) server: Server,
    pub port: u16,
}

impl Postgres {
    /// Starts a PostgreSQL without the other servers. Dropping it stops it.
    pub fn start() -> anyhow::Result<Postgres> {
        Postgres::start_in(&StackDir::create()?, port::free(), None)
    }

    /// The same with TLS for the name `localhost`; it also accepts connections without TLS.
    pub fn start_with_tls(certificates: &Certificates) -> anyhow::Result<Postgres> {
        Postgres::start_in(&StackDir::create()?, port::free(), Some(certificates))
    }

    /// Creates a cluster under `dir` and starts it on this port.
    pub(crate) fn start_in(dir: &Arc<StackDir>, port: u16, tls: Option<&Certificates>) -> anyhow::Result<Postgres> {
        let bin = bin_dir()?;
        let account = account()?;
        let data = data_dir(dir.path(), account)?;
        cluster::make(&bin, account, &data, &dir.path().join(LOG))?;
        if let Some(files) = tls {
            offer_tls(&data, account, files)?;
        }
        Ok(Postgres { server: run(&bin, account, data, dir, port)?, port })
    }

    /// A disk owned by the server's user, for a tablespace that can become full; an error without the right to mount.
    pub fn small_disk(&self) -> anyhow::Result<SmallDisk> {
        SmallDisk::mount(account()?)
    }

    /// The URL of its database `postgres`, as superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    /// Ends it properly: if only its process were killed, it would leave a shared memory segment.
    fn drop(&mut self) {
        self.server.dismiss();
    }
}

/// Enables TLS in a cluster. The server's user must own the key.
fn offer_tls(data: &Path, account: Option<Account>, files: &Certificates) -> anyhow::Result<()> {
    for (from, name) in [(&files.certificate, "server.crt"), (&files.key, "server.key")] {
        let to = data.join(name);
        fs::copy(from, &to).with_context(|| format!("cannot write {}", to.display()))?;
        hand_over(&to, 0o600, account)?;
    }
    let settings = data.join("postgresql.auto.conf");
    fs::write(&settings, "ssl = on\n").with_context(|| format!("cannot write {}", settings.display()))
}

fn run(bin: &Path, account: Option<Account>, data: PathBuf, dir: &Arc<StackDir>, port: u16) -> anyhow::Result<Server> {
    let postgres = bin.join("postgres");
    let pg_isready = bin.join("pg_isready");
    Server::launch(Recipe {
        name: "PostgreSQL",
        port,
        command: Box::new(move || {
            let mut command = spawn::command(&postgres, account);
            command.arg("-D").arg(&data).arg("-p").arg(port.to_string());
            // No Unix socket: its path could exceed the length limit of socket paths.
            for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories="].iter().chain(&SETTINGS) {
                command.args(["-c", setting]);
            }
            command
        }),
        stop: Signal::INT,
        // Immediate, without a checkpoint. After SIGKILL it would leave a shared memory segment.
        discard: Signal::QUIT,
        ready: Box::new(move || {
            let answer = client(&pg_isready)
                .args(["-q", "-U", "postgres", "-d", "postgres", "-h", "127.0.0.1", "-t", "1"])
                .args(["-p", &port.to_string()])
                .stdin(Stdio::null())
                .status()?;
            ensure!(answer.success(), "pg_isready: {answer}");
            Ok(())
        }),
        log: dir.path().join(LOG),
        dir: Arc::clone(dir),
    })
}

/// Creates an empty database on the server of `url`; returns its URL.
pub fn create_database(url: &str, name: &str) -> anyhow::Result<String> {
    let (server, _) = url.rsplit_once('/').with_context(|| format!("no database in {url}"))?;
    // Not template1: CREATE DATABASE fails while anyone is connected to its template.
    psql(url, &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"))
        .with_context(|| format!("cannot create database {name}"))?;
    Ok(format!("{server}/{name}"))
}

/// Runs one statement; returns its result with one line per row.
pub fn psql(url: &str, statement: &str) -> anyhow::Result<String> {
    let mut psql = client(&psql_program()?);
    psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", url, "--command", statement]);
    spawn::output(&mut psql)
}

/// A client program for our servers. It ignores libpq's variables, which may require TLS, for example.
fn client(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    command
}

/// The `psql` beside the server, if it exists. Debian's `psql` in `PATH` is a Perl script that first selects a
/// version, and takes several times as long.
fn psql_program() -> anyhow::Result<PathBuf> {
    let beside = bin_dir().map(|bin| bin.join("psql")).ok().filter(|psql| psql.is_file());
    beside.or_else(|| spawn::in_path("psql")).context("psql is not installed (devstack/install does that)")
}

/// The folder of initdb and postgres: `PG_BIN`, a folder of `PATH`, or the system's newest version.
pub(crate) fn bin_dir() -> anyhow::Result<PathBuf> {
    // Some systems link only a few of them into PATH; we need all three of the same version.
    let complete = |bin: &Path| ["initdb", "postgres", "pg_isready"].iter().all(|program| bin.join(program).is_file());
    if let Some(bin) = std::env::var_os("PG_BIN").map(PathBuf::from) {
        ensure!(complete(&bin), "no initdb and postgres in PG_BIN");
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(bin) = std::env::split_paths(&path).find(|bin| complete(bin)) {
        return Ok(bin);
    }
    let version = |folder: &PathBuf| -> u32 {
        let name = folder.file_name().and_then(OsStr::to_str);
        name.and_then(|name| name.parse().ok()).unwrap_or(0)
    };
    fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| complete(&folder.join("bin")))
        .max_by_key(version)
        .map(|folder| folder.join("bin"))
        .context("the PostgreSQL server is not installed (devstack/install does that)")
}

/// The account to run PostgreSQL as, because it refuses to run as root: `postgres` or `nobody`.
pub(crate) fn account() -> anyhow::Result<Option<Account>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| {
            let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        })
        .map(Some)
        .context("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

/// A folder that `account` owns and can reach. If the repository is in a folder closed to it, such as /root,
/// the data goes to the system's temporary folder. The alternative would be to give read access to all files to
/// a server that trusts every local client.
pub(crate) fn data_dir(dir: &Path, account: Option<Account>) -> anyhow::Result<PathBuf> {
    let here = dir.join("postgres");
    own(&here, account)?;
    if account.is_none() || reaches(&here, account) {
        return Ok(here);
    }
    let name = dir.file_name().unwrap_or(OsStr::new("stack"));
    for root in [Path::new("/var/tmp"), &std::env::temp_dir()] {
        let elsewhere = root.join(format!("devstack-{}-{:08x}", name.to_string_lossy(), fastrand::u32(..)));
        if own(&elsewhere, account).is_ok() && reaches(&elsewhere, account) {
            symlink(&elsewhere, dir.join(ELSEWHERE)).context("cannot link the data directory")?;
            return Ok(elsewhere);
        }
    }
    bail!("PostgreSQL's user cannot reach {} or any folder for temporary files", here.display())
}

fn own(dir: &Path, account: Option<Account>) -> anyhow::Result<()> {
    fs::create_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    hand_over(dir, 0o700, account).context("cannot give PostgreSQL its data directory")
}

/// Sets the mode of a file or folder, and makes the account its owner.
pub(crate) fn hand_over(path: &Path, mode: u32, account: Option<Account>) -> anyhow::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if let Some(Account { uid, gid }) = account {
        chown(path, Some(uid), Some(gid))?;
    }
    Ok(())
}

fn reaches(dir: &Path, account: Option<Account>) -> bool {
    spawn::command(Path::new("test"), account)
        .arg("-w")
        .arg(dir)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
