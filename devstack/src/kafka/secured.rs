//! Two more listeners of the broker, with TLS and a certificate for a host name. The secured one is like Confluent
//! Cloud's: a login with PLAIN, SCRAM or OAUTHBEARER. The mutual one asks for a client certificate instead.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::port;
use crate::tls::{Certificates, KeyPair};
use crate::token::{self, Signer};

const USER: &str = "app";
/// The key that signs access tokens.
const KID: &str = "devstack";

/// The secured listeners of a broker, and the settings that a client needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secured {
    pub(super) port: u16,
    pub(super) mutual_port: u16,
    /// The certificate of the CA that signed the broker's certificate.
    pub authority: PathBuf,
    /// The certificate of another CA with the same name.
    pub other_authority: PathBuf,
    /// The only user; its login works with `PLAIN`, `SCRAM-SHA-256` and `SCRAM-SHA-512`.
    pub username: String,
    pub password: String,
    /// A client certificate that the mutual listener accepts.
    pub client: KeyPair,
    /// A client certificate of the other CA.
    pub stranger: KeyPair,
    /// The broker's private key and its certificate, for `localhost`.
    pub keystore: PathBuf,
    token_key: PathBuf,
    jwks: PathBuf,
}

impl Secured {
    /// The issuer and the audience of access tokens that the secured listener accepts.
    pub const TOKEN_ISSUER: &str = "https://issuer.example";
    pub const TOKEN_AUDIENCE: &str = "kafka";

    pub(crate) fn prepare(dir: &Path, password: &str) -> anyhow::Result<Secured> {
        let (certificates, keystore) = (Certificates::make_in(dir)?, dir.join("keystore.pem"));
        certificates.write_keystore(&keystore)?;
        let (client, stranger) = Certificates::make_clients_in(dir)?;
        let (token_key, jwks) = (dir.join("token.key"), dir.join("jwks.json"));
        token::generate("ES256", KID, &token_key, &jwks)?;
        Ok(Secured {
            port: port::free(),
            mutual_port: port::free(),
            authority: certificates.authority,
            other_authority: certificates.other_authority,
            username: USER.to_owned(),
            password: password.to_owned(),
            client,
            stranger,
            keystore,
            token_key,
            jwks,
        })
    }

    /// Its address with the host name in the certificate.
    pub fn brokers(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Its address with a host name that is not in the certificate.
    pub fn brokers_by_address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The mutual listener's address with the host name in the certificate.
    pub fn mutual_brokers(&self) -> String {
        format!("localhost:{}", self.mutual_port)
    }

    /// Signs access tokens for the secured listener.
    pub fn token_signer(&self) -> anyhow::Result<Signer> {
        Signer::file("ES256", &self.token_key, Some(KID))
    }

    /// Kafka reads no URL for OAUTHBEARER that this option of Java does not list.
    pub(super) fn java_option(&self) -> String {
        format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={}", self.jwks_url())
    }

    fn jwks_url(&self) -> String {
        format!("file://{}", self.jwks.display())
    }

    /// The settings of a service that uses the secured listener.
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
        let Secured { username, password, keystore, authority, .. } = self;
        let module = "org.apache.kafka.common.security";
        let oauth = "listener.name.secured.oauthbearer";
        format!(
            "ssl.keystore.type=PEM\n\
             ssl.keystore.location={keystore}\n\
             listener.name.mutual.ssl.client.auth=required\n\
             listener.name.mutual.ssl.truststore.type=PEM\n\
             listener.name.mutual.ssl.truststore.location={authority}\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
             listener.name.secured.plain.sasl.jaas.config={module}.plain.PlainLoginModule required \
             user_{username}=\"{password}\";\n\
             listener.name.secured.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             listener.name.secured.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             {oauth}.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required;\n\
             {oauth}.sasl.server.callback.handler.class={module}.oauthbearer.OAuthBearerValidatorCallbackHandler\n\
             {oauth}.sasl.oauthbearer.jwks.endpoint.url={jwks}\n\
             {oauth}.sasl.oauthbearer.expected.issuer={issuer}\n\
             {oauth}.sasl.oauthbearer.expected.audience={audience}\n\
             {oauth}.connections.max.reauth.ms=3600000\n",
            keystore = keystore.display(),
            authority = authority.display(),
            jwks = self.jwks_url(),
            issuer = Self::TOKEN_ISSUER,
            audience = Self::TOKEN_AUDIENCE,
        )
    }

    /// Arguments for formatting the storage: SCRAM users are part of the cluster's metadata.
    pub(super) fn scram_users(&self) -> [String; 4] {
        let of = |mechanism| format!("{mechanism}=[name={},password={}]", self.username, self.password);
        ["--add-scram".to_owned(), of("SCRAM-SHA-256"), "--add-scram".to_owned(), of("SCRAM-SHA-512")]
    }
}
