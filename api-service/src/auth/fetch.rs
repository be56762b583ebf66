//! Reads a JWKS from its URL or file, or from where its issuer's OpenID configuration says that it is, within limits of
//! time and size.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Deserialize;

/// A JWKS of a large identity provider has some 20 KiB.
const MAX_BYTES: usize = 256 * 1024;
const CONNECT: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(5);

/// Parses a URL from which keys may be fetched: https, or http that does not leave this machine. An error has the
/// URL's name and does not quote it, because it may hold a password.
pub fn address(name: &str, url: &str, allow_http: bool) -> anyhow::Result<Url> {
    let url: Url = url.parse().map_err(|_| anyhow::anyhow!("{name} is not a URL"))?;
    ensure!(url.username().is_empty() && url.password().is_none(), "{name} must not contain a user or a password");
    match url.scheme() {
        "https" => {}
        "http" if allow_http || is_loopback(&url) => {}
        "http" => bail!("{name} must be https: over http, anyone on the way can replace the keys"),
        _ => bail!("{name} must be an https URL"),
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub struct Remote {
    client: Client,
    place: Place,
}

enum Place {
    /// The JWKS.
    Keys(Url),
    Configuration(Discovery),
}

/// OpenID Connect Discovery 1.0, section 4.
struct Discovery {
    issuer: String,
    url: Url,
    allow_http: bool,
}

/// The members of an OpenID configuration that are used.
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

impl Discovery {
    fn of(issuer: &str, allow_http: bool) -> anyhow::Result<Self> {
        let whole = address("JWT_ISSUER", issuer, allow_http)?;
        ensure!(
            whole.query().is_none() && whole.fragment().is_none(),
            "JWT_ISSUER must not have a query or a fragment; set JWT_JWKS_URL if its keys are elsewhere"
        );
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')).parse();
        Ok(Self { issuer: issuer.to_owned(), url: url.context("JWT_ISSUER is not a URL")?, allow_http })
    }

    /// Where the keys are. The document has to be of this very issuer: whoever may put a document beside another
    /// issuer's must not name its keys.
    fn keys(&self, text: &[u8]) -> anyhow::Result<Url> {
        let found: Configuration = serde_json::from_slice(text)
            .map_err(|_| anyhow::anyhow!("the OpenID configuration is not JSON with `issuer` and `jwks_uri`"))?;
        if found.issuer != self.issuer {
            let other: String = found.issuer.chars().take(256).collect();
            bail!("the OpenID configuration is of the issuer {other:?}, and JWT_ISSUER is {:?}", self.issuer);
        }
        let keys = address("the `jwks_uri` of the OpenID configuration", &found.jwks_uri, self.allow_http)?;
        ensure!(
            keys.scheme() == "https" || self.url.scheme() == "http",
            "the `jwks_uri` of the OpenID configuration must be https, as JWT_ISSUER is"
        );
        Ok(keys)
    }
}

impl Remote {
    /// The keys at a URL. Sends no request.
    pub fn new(url: Url) -> anyhow::Result<Self> {
        // With http there is nothing to verify, so no certificates are needed.
        let client = client(&url, url.scheme() == "https")?;
        Ok(Self { client, place: Place::Keys(url) })
    }

    /// The keys that an issuer's OpenID configuration names. Sends no request.
    pub fn discovered(issuer: &str, allow_http: bool) -> anyhow::Result<Self> {
        let discovery = Discovery::of(issuer, allow_http)?;
        // The keys may be at an https address even if the issuer is not.
        Ok(Self { client: client(&discovery.url, true)?, place: Place::Configuration(discovery) })
    }

    /// Fetches the keys. No error quotes their URL.
    pub async fn get(&self) -> anyhow::Result<Vec<u8>> {
        match &self.place {
            Place::Keys(url) => self.fetch(url).await,
            // Each time: an issuer may move its keys.
            Place::Configuration(discovery) => {
                let text = self.fetch(&discovery.url).await.context("the OpenID configuration")?;
                self.fetch(&discovery.keys(&text)?).await
            }
        }
    }

    async fn fetch(&self, url: &Url) -> anyhow::Result<Vec<u8>> {
        let request = self.client.get(url.clone()).header("accept", "application/jwk-set+json, application/json");
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        ensure!(response.status() == 200, "it answered {}", response.status().as_u16());
        let mut whole = Vec::new();
        while let Some(part) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            whole.extend_from_slice(&part);
            ensure!(whole.len() <= MAX_BYTES, "it is larger than {MAX_BYTES} bytes");
        }
        Ok(whole)
    }
}

fn client(url: &Url, verifies: bool) -> anyhow::Result<Client> {
    // Redirects are not followed: only the configured URL is trusted.
    let mut client = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT).timeout(WHOLE);
    if !verifies {
        client = client.tls_certs_only([]);
    }
    if is_loopback(url) {
        client = client.no_proxy();
    }
    client.build().context("the JWKS: cannot create an HTTP client")
}

/// The time and size of a file: they change when the file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(SystemTime, u64);

#[derive(Clone)]
pub struct Local(pub PathBuf);

impl Local {
    pub fn stamp(&self) -> anyhow::Result<Stamp> {
        let metadata = std::fs::metadata(&self.0)?;
        Ok(Stamp(metadata.modified()?, metadata.len()))
    }

    pub fn get(&self) -> anyhow::Result<Vec<u8>> {
        let mut whole = Vec::new();
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        File::open(&self.0)?.take(limit).read_to_end(&mut whole)?;
        ensure!(whole.len() <= MAX_BYTES, "the JWKS is larger than {MAX_BYTES} bytes");
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_or_this_machine() {
        for good in [
            "https://id.example/jwks",
            "http://127.0.0.1:1/x",
            "http://127.9.9.9",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(address("X", good, false).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example/jwks",
            "http://127.0.0.1.example/",
            "http://localhost.example/",
            "http://10.0.0.1/",
            "file:///etc/passwd",
            "ftp://127.0.0.1/",
            "nonsense",
            "",
        ] {
            assert!(address("X", bad, false).is_err(), "{bad}");
        }
        assert!(address("X", "http://id.example/jwks", true).is_ok(), "where it is asked for");
        let said = address("X", "https://planted:planted@id.example", true).unwrap_err().to_string();
        assert!(said.starts_with("X must not") && !said.contains("planted"), "{said}");
    }

    #[test]
    fn the_configuration_is_at_the_issuer_and_of_the_issuer() {
        for (issuer, url) in [
            ("https://id.example", "https://id.example/.well-known/openid-configuration"),
            ("https://id.example/", "https://id.example/.well-known/openid-configuration"),
            ("https://id.example/realms/r", "https://id.example/realms/r/.well-known/openid-configuration"),
            ("http://localhost:8080/realms/r", "http://localhost:8080/realms/r/.well-known/openid-configuration"),
        ] {
            assert_eq!(Discovery::of(issuer, false).unwrap().url.as_str(), url);
        }
        for (bad, why) in [
            ("http://id.example", "JWT_ISSUER must be https"),
            ("https://", "JWT_ISSUER is not a URL"),
            ("https://id.example/?tenant=a", "JWT_ISSUER must not have a query"),
            ("https://id.example/#a", "JWT_ISSUER must not have a query"),
        ] {
            let refused = Discovery::of(bad, false).err().unwrap().to_string();
            assert!(refused.starts_with(why), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_configuration_names_the_keys_or_is_refused() {
        let discovery = Discovery::of("https://id.example/", false).unwrap();
        let text = |issuer: &str, keys: &str| {
            serde_json::json!({"issuer": issuer, "jwks_uri": keys, "token_endpoint": 7}).to_string()
        };
        let good = text("https://id.example/", "https://keys.example/jwks");
        assert_eq!(discovery.keys(good.as_bytes()).unwrap().as_str(), "https://keys.example/jwks");
        for (bad, why) in [
            ("<html>".to_owned(), "is not JSON with `issuer` and `jwks_uri`"),
            (r#"{"issuer":"https://id.example/"}"#.to_owned(), "is not JSON with `issuer` and `jwks_uri`"),
            (
                text("https://id.example", "https://keys.example"),
                r#"of the issuer "https://id.example", and JWT_ISSUER"#,
            ),
            (text("https://id.example/{tenantid}", "https://keys.example"), "of the issuer"),
            (text("https://id.example/", "http://keys.example"), "must be https"),
            (text("https://id.example/", "http://127.0.0.1/keys"), "must be https, as JWT_ISSUER is"),
            (text("https://id.example/", "keys"), "is not a URL"),
            (text("https://id.example/", "file:///etc/passwd"), "must be an https URL"),
        ] {
            let refused = discovery.keys(bad.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(why), "{bad}: {refused}");
        }
    }
}
