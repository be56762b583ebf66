//! Creates a cluster. `initdb` takes a second and its result is always the same, so it runs once for each
//! version and user, and the result is copied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::ensure;

use crate::spawn::{self, Account};
use crate::{dir, server};

/// The fixed size of a cluster's control file; after a crash of the machine a kept file may be shorter.
const CONTROL_BYTES: u64 = 8192;

/// Creates a cluster in `data`, an existing empty folder owned by `account`.
pub(super) fn make(bin: &Path, account: Option<Account>, data: &Path, log: &Path) -> anyhow::Result<()> {
    let kept = kept(bin, account);
    if let Some(kept) = &kept
        && is_complete(kept)
        && copy(kept, data).is_ok()
    {
        return Ok(());
    }
    // Remove the remains of a failed copy.
    for entry in fs::read_dir(data)?.flatten() {
        let path = entry.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    // Not synced: a cluster that is lost before its first start is created again.
    let mut initdb = spawn::command(&bin.join("initdb"), account);
    initdb
        .args(["--no-sync", "--auth=trust", "--username=postgres"])
        .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
        .arg(data);
    server::run(initdb, log, "initdb failed")?;
    if let Some(kept) = kept {
        // If it cannot be kept, the next cluster is created with `initdb`, too.
        let _ = dir::keep(&kept, |new| {
            fs::create_dir_all(new)?;
            copy(data, new)
        });
    }
    Ok(())
}

/// The folder of the kept cluster of this version; `None` if the program does not print its version.
fn kept(bin: &Path, account: Option<Account>) -> Option<PathBuf> {
    let output = Command::new(bin.join("postgres")).arg("--version").stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    // "postgres (PostgreSQL) 17.11 (Debian 17.11-1)": use all of it, because an unneeded extra copy is cheap.
    let plain: String =
        said.trim().chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let user = account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
    (!plain.is_empty()).then(|| dir::target().join("devstack").join(format!("cluster-{user}-{plain}")))
}

fn is_complete(cluster: &Path) -> bool {
    fs::metadata(cluster.join("global/pg_control")).is_ok_and(|control| control.len() == CONTROL_BYTES)
}

/// Copies a folder with owners and modes.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(from.join(".")).arg(to).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = cp.status()?;
    ensure!(status.success() && is_complete(to), "cp: {status}");
    Ok(())
}
