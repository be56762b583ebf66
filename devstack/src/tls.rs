//! Certificates for a server's name, and the authority that signs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::dir::StackDir;
use crate::spawn::output;

/// What servers with TLS need: a certificate for `localhost`, signed by an authority of its own. Dropped, the files go.
#[derive(Debug)]
pub struct Certificates {
    pub(crate) files: Files,
    _dir: StackDir,
}

/// The same, in a folder that somebody else looks after.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) authority: PathBuf,
    pub(crate) other_authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    pub fn make() -> anyhow::Result<Certificates> {
        let dir = StackDir::create()?;
        Ok(Certificates { files: Files::make(dir.path())?, _dir: dir })
    }

    pub fn authority(&self) -> &Path {
        &self.files.authority
    }

    /// The certificate of `localhost`.
    pub fn certificate(&self) -> &Path {
        &self.files.certificate
    }

    /// The key of `localhost`.
    pub fn key(&self) -> &Path {
        &self.files.key
    }

    /// The certificate of another authority of the same name.
    pub fn other_authority(&self) -> &Path {
        &self.files.other_authority
    }
}

impl Files {
    pub(crate) fn make(dir: &Path) -> anyhow::Result<Files> {
        let (authority, authority_key) = make_authority(dir, "authority")?;
        let (other_authority, _) = make_authority(dir, "other-authority")?;
        let (key, certificate) = (dir.join("server.key"), dir.join("server.pem"));
        let mut command = new_key(&key);
        command.args(["-x509", "-days", "2", "-subj", "/CN=server", "-addext", "subjectAltName=DNS:localhost"]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.arg("-CA").arg(&authority).arg("-CAkey").arg(authority_key);
        output(command.arg("-out").arg(&certificate))?;
        Ok(Files { authority, other_authority, certificate, key })
    }

    /// Puts key and certificate into one file, as Kafka wants them.
    pub(crate) fn write_keystore(&self, keystore: &Path) -> anyhow::Result<()> {
        let both = [fs::read_to_string(&self.key)?, fs::read_to_string(&self.certificate)?].concat();
        fs::write(keystore, both).with_context(|| format!("cannot write {}", keystore.display()))
    }
}

/// A certificate authority of its own: its certificate, and its key.
fn make_authority(dir: &Path, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let mut command = new_key(&key);
    command.args(["-x509", "-days", "2", "-subj", "/CN=devstack"]);
    command.args(["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]);
    output(command.arg("-out").arg(&certificate))?;
    Ok((certificate, key))
}

/// `openssl req` with a new key, not encrypted.
fn new_key(key: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"]).arg(key);
    command
}
