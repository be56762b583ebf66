//! Reads a JWKS from its URL or file, within limits of time and size.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

/// A JWKS of a large identity provider has some 20 KiB.
const MAX_BYTES: usize = 256 * 1024;
const CONNECT: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(5);

/// Parses a URL from which keys may be fetched: https, or http that does not leave this machine. No error quotes the
/// URL, because it may hold a password.
pub fn address(url: &str, allow_http: bool) -> anyhow::Result<Url> {
    let url: Url = url.parse().map_err(|_| anyhow::anyhow!("JWT_JWKS_URL is not a URL"))?;
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "JWT_JWKS_URL must not contain a user or a password"
    );
    match url.scheme() {
        "https" => {}
        "http" if allow_http || is_loopback(&url) => {}
        "http" => bail!("JWT_JWKS_URL must be https: over http, anyone on the way can replace the keys"),
        _ => bail!("JWT_JWKS_URL must be an https URL"),
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
    url: Url,
}

impl Remote {
    /// Sends no request.
    pub fn new(url: Url) -> anyhow::Result<Self> {
        // Redirects are not followed: only the configured URL is trusted.
        let mut client = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT).timeout(WHOLE);
        if url.scheme() == "http" {
            // Nothing to verify, so no certificates are needed.
            client = client.tls_certs_only([]);
        }
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        Ok(Self { client: client.build().context("JWT_JWKS_URL: cannot create an HTTP client")?, url })
    }

    /// Fetches the document. No error quotes the URL.
    pub async fn get(&self) -> anyhow::Result<Vec<u8>> {
        let request = self.client.get(self.url.clone()).header("accept", "application/jwk-set+json, application/json");
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        ensure!(response.status() == 200, "it answered {}", response.status().as_u16());
        let mut whole = Vec::new();
        while let Some(part) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            whole.extend_from_slice(&part);
            ensure!(whole.len() <= MAX_BYTES, "the JWKS is larger than {MAX_BYTES} bytes");
        }
        Ok(whole)
    }
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
            assert!(address(good, false).is_ok(), "{good}");
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
            assert!(address(bad, false).is_err(), "{bad}");
        }
        assert!(address("http://id.example/jwks", true).is_ok(), "where it is asked for");
        let said = address("https://planted:planted@id.example", true).unwrap_err().to_string();
        assert!(!said.contains("planted"), "{said}");
    }
}
