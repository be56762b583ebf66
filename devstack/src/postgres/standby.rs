//! A second server that replicates from the first and can take over.

use std::time::Duration;

use anyhow::ensure;

use super::{LOG, Postgres, account, bin_dir, data_dir, psql, run};
use crate::dir::StackDir;
use crate::{port, server, spawn};

impl Postgres {
    /// Starts a hot standby: it streams from this server and applies the changes after this delay. It refuses writes,
    /// and its reads are old by the delay. Dropping it stops it.
    pub fn standby(&self, delay: Duration) -> anyhow::Result<Postgres> {
        let (bin, account, dir) = (bin_dir()?, account()?, StackDir::create()?);
        let (data, log) = (data_dir(dir.path(), account)?, dir.path().join(LOG));
        let mut basebackup = spawn::command(&bin.join("pg_basebackup"), account);
        basebackup
            .args(["--host=127.0.0.1", "--username=postgres", "--write-recovery-conf", "--no-sync"])
            .args(["--checkpoint=fast", "--wal-method=stream", "--port", &self.port.to_string(), "--pgdata"])
            .arg(&data);
        // Give each tablespace its own folder, because primary and standby are on the same machine.
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

    /// Promotes a standby: it applies all received changes and then accepts writes. The old primary is not involved.
    pub fn promote(&self) -> anyhow::Result<()> {
        // Promotion applies delayed changes at once.
        let promoted = psql(&self.url(), "SELECT pg_promote(true, 60)")?;
        ensure!(promoted == "t", "it does not take over");
        Ok(())
    }
}
