//! Finds Java and Kafka's jars, and downloads the jars once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail, ensure};

use crate::{dir, spawn};

/// Kafka 4 requires Java 17.
const OLDEST_JAVA: u32 = 17;

/// The version that `kafka/pom.xml` pins.
pub(crate) fn kafka_version() -> &'static str {
    include_str!("../../kafka/pom.xml")
        .split_once("<kafka.version>")
        .and_then(|(_, rest)| rest.split_once('<'))
        .map_or("unknown", |(version, _)| version)
}

/// The folder of this Kafka version: `libs`, and files that make it start faster.
pub(crate) fn home() -> PathBuf {
    dir::target().join("devstack").join(format!("kafka-{}", kafka_version()))
}

/// A Java that is recent enough: from `JAVA_HOME`, or else from `PATH`.
pub(crate) fn java() -> Option<&'static Path> {
    static JAVA: OnceLock<Option<PathBuf>> = OnceLock::new();
    JAVA.get_or_init(|| {
        let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
        [home, spawn::in_path("java")]
            .into_iter()
            .flatten()
            .find(|java| major(java).is_some_and(|major| major >= OLDEST_JAVA))
    })
    .as_deref()
}

/// Of `openjdk version "17.0.15" 2025-04-15`, the 17.
fn major(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, version) = text.split_once("version \"")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Kafka's class path; downloads missing jars first. It is sorted, because the class archive is valid for one
/// order only.
pub(crate) fn class_path() -> anyhow::Result<String> {
    let libs = home().join("libs");
    if !libs.is_dir() {
        fetch()?;
    }
    let entries = libs.read_dir().with_context(|| format!("cannot read {}", libs.display()))?;
    let mut jars: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.path().to_string_lossy().into_owned())).collect();
    ensure!(!jars.is_empty(), "{} is empty", libs.display());
    jars.sort();
    Ok(jars.join(":"))
}

fn fetch() -> anyhow::Result<()> {
    eprintln!("devstack: fetching Apache Kafka {}", kafka_version());
    let output = Command::new(dir::workspace().join("devstack/install"))
        .arg("kafka")
        .env("CARGO_TARGET_DIR", dir::target())
        .stdin(Stdio::null())
        .output()
        .context("cannot run devstack/install")?;
    if !output.status.success() {
        bail!(
            "cannot fetch Kafka:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
