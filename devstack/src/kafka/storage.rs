//! A broker's storage must be formatted before its first start, which takes half as long as a start. The result
//! is the same for every broker with the same node id and no users, so it is made once and copied.

use std::fs;
use std::path::{Path, PathBuf};

use super::secured::Secured;
use super::{CLUSTER, Jvm, java};
use crate::{dir, server};

const FILES: [&str; 2] = ["bootstrap.checkpoint", "meta.properties"];

/// Formats the storage `data` of a broker with these settings.
pub(super) fn format(
    jvm: &Jvm,
    node: usize,
    config: &Path,
    data: &Path,
    log: &Path,
    secured: Option<&Secured>,
) -> anyhow::Result<()> {
    // Users are part of the formatted storage.
    if secured.is_none() && copy(&kept(node), data).is_ok() {
        return Ok(());
    }
    let mut format = jvm.command("kafka.tools.StorageTool", false);
    format.args(["format", "-t", CLUSTER, "-c"]);
    format.arg(config).args(secured.iter().flat_map(|secured| secured.scram_users()));
    server::run(format, log, "Kafka's storage cannot be formatted")?;
    if secured.is_none() {
        // If it cannot be kept, the next broker formats its own.
        let _ = dir::keep(&kept(node), |new| copy(data, new));
    }
    Ok(())
}

/// The folder of the kept storage: beside the jars, so that each Kafka version has its own.
fn kept(node: usize) -> PathBuf {
    java::home().join(format!("formatted-{node}"))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    // Read everything before anything is written.
    let files = FILES.map(|name| fs::read(from.join(name)).map(|bytes| (name, bytes)));
    fs::create_dir_all(to)?;
    for file in files {
        let (name, bytes) = file?;
        fs::write(to.join(name), bytes)?;
    }
    Ok(())
}
