//! A broker's storage has to be formatted before its first start, which takes as long as half a start of the
//! broker. It looks the same for every first broker without users, so it is done once, and copied. The others of a
//! cluster have ids of their own in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::secured::Secured;
use super::{CLUSTER, Jvm, java};
use crate::server::last_lines;
use crate::spawn;

/// What a formatted storage consists of.
const FILES: [&str; 2] = ["bootstrap.checkpoint", "meta.properties"];

/// Formats the storage `data` of the broker with this id and these settings.
pub(super) fn format(
    jvm: &Jvm,
    config: &Path,
    data: &Path,
    log: &Path,
    id: usize,
    secured: Option<&Secured>,
) -> anyhow::Result<()> {
    // Users are a part of it.
    let is_common = secured.is_none() && id == 1;
    if is_common && copy(&kept(), data).is_ok() {
        return Ok(());
    }
    let mut format = jvm.command("kafka.tools.StorageTool", false);
    format.args(["format", "-t", CLUSTER, "-c"]);
    format.arg(config).args(secured.iter().flat_map(|secured| secured.scram_users()));
    let formatted = spawn::background(format, log)?.wait(Duration::from_secs(60))?;
    if !formatted.is_some_and(|status| status.success()) {
        bail!("Kafka's storage cannot be formatted:\n{}", last_lines(log, 15));
    }
    if is_common {
        // If it cannot be kept, the next one is formatted as well.
        let _ = keep(data);
    }
    Ok(())
}

/// Where it is kept: with the jars, so that a new Kafka formats anew.
fn kept() -> PathBuf {
    java::home().join("formatted")
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    // Before anything is made of it.
    let files = FILES.map(|name| fs::read(from.join(name)).map(|bytes| (name, bytes)));
    fs::create_dir_all(to)?;
    for file in files {
        let (name, bytes) = file?;
        fs::write(to.join(name), bytes)?;
    }
    Ok(())
}

/// Under its name only once it is complete. If another process was quicker, its copy is as good.
fn keep(data: &Path) -> anyhow::Result<()> {
    let new = java::home().join(format!("formatting-{}-{:08x}", std::process::id(), fastrand::u32(..)));
    let kept = copy(data, &new).and_then(|()| fs::rename(&new, kept()).context("cannot keep it"));
    if kept.is_err() {
        let _ = fs::remove_dir_all(&new);
    }
    kept
}
