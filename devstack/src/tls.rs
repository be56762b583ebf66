//! A server certificate, and the CA that signs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;

use crate::dir::StackDir;
use crate::spawn::output;

/// The files of a TLS server: a certificate for `localhost`, signed by its own CA.
#[derive(Debug)]
pub struct Certificates {
    pub authority: PathBuf,
    /// The certificate of another CA with the same name.
    pub other_authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The folder of the files, if this value owns it; it is then removed with this value.
    _dir: Option<Arc<StackDir>>,
}

impl Certificates {
    pub fn make() -> anyhow::Result<Certificates> {
        let dir = StackDir::create()?;
        let certificates = Certificates::make_in(dir.path())?;
        Ok(Certificates { _dir: Some(dir), ..certificates })
    }

    pub(crate) fn make_in(dir: &Path) -> anyhow::Result<Certificates> {
        let (authority, authority_key) = make_authority(dir, "authority")?;
        let (other_authority, _) = make_authority(dir, "other-authority")?;
        let (key, certificate) = (dir.join("server.key"), dir.join("server.pem"));
        let mut command = new_key(&key);
        command.args(["-x509", "-days", "2", "-subj", "/CN=server", "-addext", "subjectAltName=DNS:localhost"]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.arg("-CA").arg(&authority).arg("-CAkey").arg(authority_key);
        output(command.arg("-out").arg(&certificate))?;
        Ok(Certificates { authority, other_authority, certificate, key, _dir: None })
    }

    /// Writes key and certificate into one file, the form that Kafka expects.
    pub(crate) fn write_keystore(&self, keystore: &Path) -> anyhow::Result<()> {
        let both = [fs::read_to_string(&self.key)?, fs::read_to_string(&self.certificate)?].concat();
        fs::write(keystore, both).with_context(|| format!("cannot write {}", keystore.display()))
    }
}

/// Creates a CA; returns the paths of its certificate and its key.
fn make_authority(dir: &Path, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let mut command = new_key(&key);
    command.args(["-x509", "-days", "2", "-subj", "/CN=devstack"]);
    command.args(["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]);
    output(command.arg("-out").arg(&certificate))?;
    Ok((certificate, key))
}

/// `openssl req` with a new, unencrypted key.
fn new_key(key: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"]).arg(key);
    command
}
