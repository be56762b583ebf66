//! A second listener of the broker, like Confluent Cloud's: TLS with a certificate for a host name, and a
//! login with PLAIN or SCRAM.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::port;
use crate::tls::Certificates;

const USER: &str = "app";

/// The secured listener of a broker, and the settings that a client needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secured {
    pub(super) port: u16,
    /// The certificate of the CA that signed the broker's certificate.
    pub authority: PathBuf,
    /// The certificate of another CA with the same name.
    pub other_authority: PathBuf,
    /// The only user; its login works with `PLAIN`, `SCRAM-SHA-256` and `SCRAM-SHA-512`.
    pub username: String,
    pub password: String,
    keystore: PathBuf,
}

impl Secured {
    pub(crate) fn prepare(dir: &Path, password: &str) -> anyhow::Result<Secured> {
        let (certificates, keystore) = (Certificates::make_in(dir)?, dir.join("keystore.pem"));
        certificates.write_keystore(&keystore)?;
        let Certificates { authority, other_authority, .. } = certificates;
        let (username, password) = (USER.to_owned(), password.to_owned());
        Ok(Secured { port: port::free(), authority, other_authority, username, password, keystore })
    }

    /// Its address with the host name in the certificate.
    pub fn brokers(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Its address with a host name that is not in the certificate.
    pub fn brokers_by_address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The settings of a service that uses this listener.
    pub fn env(&self, mechanism: &str) -> Vec<(String, String)> {
        [
            ("KAFKA_BROKERS", self.brokers().as_str()),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
            ("KAFKA_SASL_MECHANISM", mechanism),
            ("KAFKA_SASL_USERNAME", self.username.as_str()),
            ("KAFKA_SASL_PASSWORD", self.password.as_str()),
            ("KAFKA_SSL_CA_LOCATION", &self.authority.to_string_lossy()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    pub(super) fn properties(&self) -> String {
        let Secured { username, password, keystore, .. } = self;
        let plain = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule";
        format!(
            "ssl.keystore.type=PEM\n\
             ssl.keystore.location={keystore}\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.secured.plain.sasl.jaas.config={plain} required user_{username}=\"{password}\";\n\
             listener.name.secured.scram-sha-256.sasl.jaas.config={scram} required;\n\
             listener.name.secured.scram-sha-512.sasl.jaas.config={scram} required;\n",
            keystore = keystore.display(),
        )
    }

    /// Arguments for formatting the storage: SCRAM users are part of the cluster's metadata.
    pub(super) fn scram_users(&self) -> [String; 4] {
        let of = |mechanism| format!("{mechanism}=[name={},password={}]", self.username, self.password);
        ["--add-scram".to_owned(), of("SCRAM-SHA-256"), "--add-scram".to_owned(), of("SCRAM-SHA-512")]
    }
}
