//! A bucket of S3, or of another server that speaks its protocol.

use anyhow::{Context as _, ensure};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{ClientConfigKey, RetryConfig};
use reqwest::Url;

/// How the builder reads a switch that is on.
const ON: [&str; 5] = ["1", "true", "on", "yes", "y"];

/// The bucket of this address, with the other settings of `s3`.
pub(super) fn open(s3: AmazonS3Builder, url: &Url) -> anyhow::Result<AmazonS3> {
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoint.iter().find_map(|key| s3.get_config_value(key)).unwrap_or_default();
    let is_http = endpoint.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let allowed = s3.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)).unwrap_or_default();
    // The builder takes it, and every call would fail, for a reason that names no setting.
    ensure!(
        !is_http || ON.iter().any(|on| allowed.eq_ignore_ascii_case(on)),
        "AWS_ENDPOINT is an address of http://, which encrypts nothing: set AWS_ALLOW_HTTP=true if you want that"
    );
    // A handler tries again by itself, and knows why.
    let s3 = s3.with_url(url.as_str()).with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
    s3.build().context("FILES_URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With this endpoint, and this value of the setting that allows one without TLS.
    fn opened(key: AmazonS3ConfigKey, endpoint: &str, allow: Option<&str>) -> Result<(), String> {
        let login = AmazonS3Builder::new().with_access_key_id("id").with_secret_access_key("secret");
        let s3 = login.with_region("eu-central-1").with_config(key, endpoint);
        let s3 = match allow {
            Some(allow) => s3.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), allow),
            None => s3,
        };
        open(s3, &"s3://files/of/videos".parse().unwrap()).map(drop).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn an_endpoint_without_tls_is_refused_unless_it_is_allowed() {
        for key in [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint] {
            for endpoint in ["http://minio:9000", "HTTP://minio:9000"] {
                for allow in [None, Some("false"), Some("0")] {
                    let refused = opened(key, endpoint, allow).unwrap_err();
                    let names = ["AWS_ENDPOINT", "AWS_ALLOW_HTTP=true"];
                    assert!(names.iter().all(|name| refused.contains(name)), "{endpoint} {allow:?}: {refused}");
                }
                for allow in ["true", "TRUE", "1", "yes"] {
                    assert_eq!(opened(key, endpoint, Some(allow)), Ok(()), "{endpoint} {allow}");
                }
            }
            assert_eq!(opened(key, "https://minio:9000", None), Ok(()));
            assert!(opened(key, "https://minio:9000", Some("perhaps")).is_err(), "it is no switch");
        }
    }
}
