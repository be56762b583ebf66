//! Installs the peers in `target/bench/peers`, in the versions that their files pin.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// The plugin that copies what Maven has resolved into a folder.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Where the peers are.
pub(super) struct Installed {
    /// Python, in the environment of its requirements.
    pub(super) python: PathBuf,
    /// The folder with the jars of Kafka Connect and its connector.
    pub(super) jars: PathBuf,
}

/// The files of a peer in the repository.
pub(super) fn sources(peer: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(peer)
}

/// Installs what is not there yet in its version.
pub(super) fn all(folder: &Path) -> anyhow::Result<Installed> {
    let folder = folder.join("peers");
    let (venv, connect) = (folder.join("python"), folder.join("connect"));
    let (python, jars) = (venv.join("bin/python"), connect.join("lib"));
    once(&venv, &sources("python").join("requirements.txt"), |pinned| {
        run("python3", &["-m".as_ref(), "venv".as_ref(), venv.as_ref()])?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r"];
        run(&python, &pip.map(OsStr::new).into_iter().chain([pinned.as_ref()]).collect::<Vec<_>>())
    })?;
    once(&connect, &sources("connect").join("pom.xml"), |pinned| {
        let into = format!("-DoutputDirectory={}", jars.display());
        let maven = ["-q", "-B", COPY, "-DincludeScope=runtime", &into, "-f"];
        run("mvn", &maven.map(OsStr::new).into_iter().chain([pinned.as_ref()]).collect::<Vec<_>>())
    })?;
    Ok(Installed { python, jars })
}

/// Installs into `folder` what the file `pinned` says, unless that was done before. A copy of the file, written at the
/// end, shows that; another version replaces the folder.
fn once(folder: &Path, pinned: &Path, install: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let name = pinned.file_name().context("a file without a name")?;
    let text = fs::read(pinned).with_context(|| format!("cannot read {}", pinned.display()))?;
    let done = folder.join(name);
    if fs::read(&done).is_ok_and(|there| there == text) {
        return Ok(());
    }
    println!("  installing what {} pins", pinned.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    install(pinned)?;
    fs::write(&done, text).with_context(|| format!("cannot write {}", done.display()))
}

fn run(program: impl AsRef<OsStr>, args: &[&OsStr]) -> anyhow::Result<()> {
    let program = program.as_ref();
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}, which installs a peer", program.display()))?;
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    ensure!(output.status.success(), "{} failed ({}):\n{said}", program.display(), output.status);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_installed_again_only_in_another_version() -> anyhow::Result<()> {
        let root = std::env::temp_dir().join(format!("bench-install-{}", std::process::id()));
        let (folder, pinned) = (root.join("peer"), root.join("pinned.txt"));
        fs::create_dir_all(&root)?;
        let mut installed = Vec::new();
        for (version, fails) in [("1", true), ("1", false), ("1", false), ("2", false)] {
            fs::write(&pinned, version)?;
            let done = once(&folder, &pinned, |_| {
                fs::write(folder.join(version), "")?;
                installed.push((version, fails));
                ensure!(!fails, "no network");
                Ok(())
            });
            assert_eq!(done.is_err(), fails);
        }
        assert_eq!(installed, [("1", true), ("1", false), ("2", false)]);
        assert!(!folder.join("1").exists(), "nothing of the other version is left");
        fs::remove_dir_all(&root)?;
        Ok(())
    }
}
