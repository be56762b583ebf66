//! A second server that follows the first one, and may take over.

use std::time::Duration;

use anyhow::ensure;

use super::{LOG, Postgres, account, bin_dir, data_dir, psql, run};
use crate::dir::StackDir;
use crate::{port, server, spawn};

impl Postgres {
    /// Starts a hot standby: it streams from this server, and applies what it got so much later. It takes no writes,
    /// and what it reads is old by that. Dropped, it ends.
    pub fn standby(&self, delay: Duration) -> anyhow::Result<Postgres> {
        let (bin, account, dir) = (bin_dir()?, account()?, StackDir::create()?);
        let (data, log) = (data_dir(dir.path(), account)?, dir.path().join(LOG));
        let mut basebackup = spawn::command(&bin.join("pg_basebackup"), account);
        basebackup
            .args(["--host=127.0.0.1", "--username=postgres", "--write-recovery-conf", "--no-sync"])
            .args(["--checkpoint=fast", "--wal-method=stream", "--port", &self.port.to_string(), "--pgdata"])
            .arg(&data);
        // What the primary has in a folder elsewhere lies in one of the standby's own: they share this machine.
        let elsewhere =
            "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''";
        for (oid, folder) in psql(&self.url(), elsewhere)?.lines().filter_map(|line| line.split_once('|')) {
            let own = data.join(format!("tablespace-{oid}"));
            basebackup.arg(format!("--tablespace-mapping={folder}={}", own.display()));
        }
        server::run(basebackup, &log, "pg_basebackup failed")?;
        let port = port::free();
        let server = run(&bin, account, data, &dir, port)?;
        let standby = Postgres { server, port };
        let millis = delay.as_millis();
        psql(&standby.url(), &format!("ALTER SYSTEM SET recovery_min_apply_delay = '{millis}ms'"))
            .and_then(|_| psql(&standby.url(), "SELECT pg_reload_conf()"))?;
        Ok(standby)
    }

    /// Lets a standby take over: it applies what it has, and takes writes. The server that it followed is not told.
    pub fn promote(&self) -> anyhow::Result<()> {
        // What is delayed is not waited for, but applied.
        let promoted = psql(&self.url(), "SELECT pg_promote(true, 60)")?;
        ensure!(promoted == "t", "it does not take over");
        Ok(())
    }
}
