//! A server certificate, client certificates, and the CA that signs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

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
        let (authority, other_authority) = (make_authority(dir, "authority")?, make_authority(dir, "other-authority")?);
        let server = authority.sign(dir, "server", Some("subjectAltName=DNS:localhost"))?;
        Ok(Certificates {
            authority: authority.certificate,
            other_authority: other_authority.certificate,
            certificate: server.certificate,
            key: server.key,
            _dir: None,
        })
    }

    /// Certificates of a client, in the folder of [`Certificates::make_in`]: of the CA and of the other CA.
    pub(crate) fn make_clients_in(dir: &Path) -> anyhow::Result<(KeyPair, KeyPair)> {
        let client = KeyPair::of(dir, "authority").sign(dir, "client", None)?;
        Ok((client, KeyPair::of(dir, "other-authority").sign(dir, "stranger", None)?))
    }

    /// Writes key and certificate into one file, the form that Kafka expects.
    pub(crate) fn write_keystore(&self, keystore: &Path) -> anyhow::Result<()> {
        let both = [fs::read_to_string(&self.key)?, fs::read_to_string(&self.certificate)?].concat();
        fs::write(keystore, both).with_context(|| format!("cannot write {}", keystore.display()))
    }
}

/// The files of a certificate and its private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl KeyPair {
    fn of(dir: &Path, name: &str) -> KeyPair {
        KeyPair { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) }
    }

    /// Encrypts a copy of the private key with this password; returns the copy's path.
    pub fn encrypted(&self, password: &str) -> anyhow::Result<PathBuf> {
        let copy = self.key.with_extension("encrypted.key");
        let mut command = Command::new("openssl");
        command.args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout"]).arg(format!("pass:{password}"));
        output(command.arg("-in").arg(&self.key).arg("-out").arg(&copy))?;
        Ok(copy)
    }

    /// As a CA, signs a certificate for a new key; its name is also its subject.
    fn sign(&self, dir: &Path, name: &str, extension: Option<&str>) -> anyhow::Result<KeyPair> {
        let signed = KeyPair::of(dir, name);
        let mut command = new_key(&signed.key);
        command.args(["-x509", "-days", "2", "-subj"]).arg(format!("/CN={name}"));
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.args(extension.iter().flat_map(|extension| ["-addext", extension]));
        command.arg("-CA").arg(&self.certificate).arg("-CAkey").arg(&self.key);
        output(command.arg("-out").arg(&signed.certificate))?;
        Ok(signed)
    }
}

/// Creates a CA.
fn make_authority(dir: &Path, name: &str) -> anyhow::Result<KeyPair> {
    let authority = KeyPair::of(dir, name);
    let mut command = new_key(&authority.key);
    command.args(["-x509", "-days", "2", "-subj", "/CN=devstack"]);
    command.args(["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]);
    output(command.arg("-out").arg(&authority.certificate))?;
    Ok(authority)
}

/// `openssl req` with a new, unencrypted key.
fn new_key(key: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"]).arg(key);
    command
}
