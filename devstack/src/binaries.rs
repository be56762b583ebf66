//! Builds the services' binaries, so that a test never runs an outdated one.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail, ensure};

use crate::dir;

/// Builds `api-service` and `worker-service` with the profile of this executable, once per process,
/// and returns their folder. `DEVSTACK_BINARIES` names a folder that already has them.
pub fn binaries() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn build() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("DEVSTACK_BINARIES").map(PathBuf::from) {
        ensure!(folder.is_dir(), "DEVSTACK_BINARIES is no folder");
        return Ok(folder);
    }
    let target = dir::target();
    let exe = std::env::current_exe().context("this executable has no path")?;
    let release = exe.strip_prefix(&target).is_ok_and(|rest| rest.iter().any(|part| part == "release"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        // Include devstack, as the Makefile does: cargo then resolves the same features and compiles nothing twice.
        .args(["build", "-p", "devstack", "-p", "api-service", "-p", "worker-service", "--bins"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(dir::workspace())
        .stdin(Stdio::null());
    if !std::io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    if release {
        cargo.arg("--release");
    }
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the services do not build");
    }
    Ok(target.join(if release { "release" } else { "debug" }))
}
