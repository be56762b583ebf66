//! Login and TLS of our Kafka clients.

use std::net::IpAddr;

use anyhow::{bail, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rdkafka::ClientConfig;
use reqwest::Url;

use super::config::{KafkaTlsConfig, OAuthBearerConfig};
use crate::kafka::KafkaConfig;

const TOKEN_ENDPOINT: &str = "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL";
const CLIENT_ID: &str = "KAFKA_SASL_OAUTHBEARER_CLIENT_ID";
const CLIENT_SECRET: &str = "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET";

/// Properties with which librdkafka gets a token without a client secret: an assertion, or the cloud's metadata.
const OTHER_GRANTS: [&str; 2] = ["sasl.oauthbearer.grant.type", "sasl.oauthbearer.metadata.authentication.type"];

/// Sets the login of this protocol. `client` has the properties of `KAFKA_PROPERTIES` already.
pub(super) fn set_login(client: &mut ClientConfig, config: &KafkaConfig, protocol: &str) -> anyhow::Result<()> {
    let OAuthBearerConfig {
        kafka_sasl_oauthbearer_token_endpoint_url: endpoint,
        kafka_sasl_oauthbearer_client_id: id,
        kafka_sasl_oauthbearer_client_secret: secret,
        kafka_sasl_oauthbearer_scope: scope,
        kafka_sasl_oauthbearer_extensions: extensions,
    } = &config.oauth_bearer;
    let of_password = [
        ("KAFKA_SASL_USERNAME", config.kafka_sasl_username.is_some()),
        ("KAFKA_SASL_PASSWORD", config.kafka_sasl_password.is_some()),
    ];
    let of_token = [
        (TOKEN_ENDPOINT, endpoint.is_some()),
        (CLIENT_ID, id.is_some()),
        (CLIENT_SECRET, secret.is_some()),
        ("KAFKA_SASL_OAUTHBEARER_SCOPE", scope.is_some()),
        ("KAFKA_SASL_OAUTHBEARER_EXTENSIONS", extensions.is_some()),
    ];
    if !protocol.starts_with("SASL") {
        let mechanism = [("KAFKA_SASL_MECHANISM", config.kafka_sasl_mechanism.is_some())];
        if let Some(name) = first(&[&of_password[..], &mechanism, &of_token].concat()) {
            bail!("{name} needs KAFKA_SECURITY_PROTOCOL=SASL_SSL: without it there is no login");
        }
        return Ok(());
    }
    let mechanism = config.kafka_sasl_mechanism.as_deref().unwrap_or("PLAIN").to_ascii_uppercase();
    client.set("sasl.mechanisms", &mechanism);
    if mechanism != "OAUTHBEARER" {
        if let Some(name) = first(&of_token) {
            bail!("{name} needs KAFKA_SASL_MECHANISM=OAUTHBEARER, and it is {mechanism}");
        }
        let (Some(username), Some(password)) = (&config.kafka_sasl_username, &config.kafka_sasl_password) else {
            bail!("KAFKA_SECURITY_PROTOCOL={protocol} needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD");
        };
        client.set("sasl.username", username).set("sasl.password", password.expose());
        return Ok(());
    }
    if let Some(name) = first(&of_password) {
        bail!("{name} is not for OAUTHBEARER, which logs in with {CLIENT_ID} and {CLIENT_SECRET}");
    }
    let has_other_grant = OTHER_GRANTS.iter().any(|name| client.get(name).is_some());
    if !has_other_grant && (endpoint.is_none() || id.is_none() || secret.is_none()) {
        bail!("KAFKA_SASL_MECHANISM=OAUTHBEARER needs {TOKEN_ENDPOINT}, {CLIENT_ID} and {CLIENT_SECRET}");
    }
    if let Some(endpoint) = endpoint {
        check_endpoint(endpoint)?;
    }
    // librdkafka gets the tokens, in a thread of its own: also for clients that nothing polls.
    client.set("sasl.oauthbearer.method", "oidc");
    // librdkafka puts it into the request's form as it is.
    let scope = scope.as_ref().map(|scope| utf8_percent_encode(scope, NON_ALPHANUMERIC).to_string());
    for (name, value) in [
        ("sasl.oauthbearer.token.endpoint.url", endpoint.as_deref()),
        ("sasl.oauthbearer.client.id", id.as_deref()),
        ("sasl.oauthbearer.client.secret", secret.as_ref().map(|secret| secret.expose())),
        ("sasl.oauthbearer.scope", scope.as_deref()),
        ("sasl.oauthbearer.extensions", extensions.as_deref()),
    ] {
        if let Some(value) = value {
            client.set(name, value);
        }
    }
    Ok(())
}

/// Sets the certificates of this protocol.
pub(super) fn set_tls(client: &mut ClientConfig, config: &KafkaTlsConfig, protocol: &str) -> anyhow::Result<()> {
    let pem = |text: &str| if text.contains('\n') { text.to_owned() } else { text.replace("\\n", "\n") };
    let KafkaTlsConfig {
        kafka_ssl_ca_location: ca,
        kafka_ssl_ca_pem: ca_pem,
        kafka_ssl_certificate_location: certificate,
        kafka_ssl_certificate_pem: certificate_pem,
        kafka_ssl_key_location: key,
        kafka_ssl_key_pem: key_pem,
        kafka_ssl_key_password: password,
    } = config;
    let given = [
        ("KAFKA_SSL_CA_LOCATION", "ssl.ca.location", ca.clone()),
        ("KAFKA_SSL_CA_PEM", "ssl.ca.pem", ca_pem.as_deref().map(pem)),
        ("KAFKA_SSL_CERTIFICATE_LOCATION", "ssl.certificate.location", certificate.clone()),
        ("KAFKA_SSL_CERTIFICATE_PEM", "ssl.certificate.pem", certificate_pem.as_deref().map(pem)),
        ("KAFKA_SSL_KEY_LOCATION", "ssl.key.location", key.clone()),
        ("KAFKA_SSL_KEY_PEM", "ssl.key.pem", key_pem.as_ref().map(|key| pem(key.expose()))),
        ("KAFKA_SSL_KEY_PASSWORD", "ssl.key.password", password.as_ref().map(|secret| secret.expose().to_owned())),
    ];
    if !protocol.ends_with("SSL") {
        if let Some((name, ..)) = given.iter().find(|(.., value)| value.is_some()) {
            bail!("{name} needs KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL: {protocol} has no TLS");
        }
        return Ok(());
    }
    for (what, file, text) in [
        ("CA", ca.is_some(), ca_pem.is_some()),
        ("CERTIFICATE", certificate.is_some(), certificate_pem.is_some()),
        ("KEY", key.is_some(), key_pem.is_some()),
    ] {
        ensure!(
            !(file && text),
            "KAFKA_SSL_{what}_LOCATION and KAFKA_SSL_{what}_PEM are both set: leave one of them out"
        );
    }
    let has_key = key.is_some() || key_pem.is_some();
    let has_certificate = certificate.is_some() || certificate_pem.is_some();
    ensure!(
        has_key == has_certificate,
        "a client certificate (KAFKA_SSL_CERTIFICATE_LOCATION or _PEM) and its private key (KAFKA_SSL_KEY_LOCATION or \
         _PEM) need each other"
    );
    ensure!(password.is_none() || has_key, "KAFKA_SSL_KEY_PASSWORD is set, and there is no private key");
    // Both are the defaults, set explicitly to show them.
    client.set("enable.ssl.certificate.verification", "true").set("ssl.endpoint.identification.algorithm", "https");
    for (_, name, value) in given {
        if let Some(value) = value {
            client.set(name, value);
        }
    }
    Ok(())
}

fn first(settings: &[(&'static str, bool)]) -> Option<&'static str> {
    settings.iter().find(|(_, is_set)| *is_set).map(|(name, _)| *name)
}

/// Fails if the client secret must not go there. No error quotes the URL, because it may hold a password.
fn check_endpoint(url: &str) -> anyhow::Result<()> {
    let Ok(url) = url.parse::<Url>() else { bail!("{TOKEN_ENDPOINT} is not a URL") };
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "{TOKEN_ENDPOINT} must not contain a user or a password"
    );
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        "http" => bail!("{TOKEN_ENDPOINT} must be https: over http, anyone on the way can read the client secret"),
        _ => bail!("{TOKEN_ENDPOINT} must be an https URL"),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rdkafka::consumer::BaseConsumer;

    use super::*;
    use crate::kafka::client_properties;
    use crate::runtime::config::Only;

    const TLS: &str = "--kafka-security-protocol=SASL_SSL";
    const LOGIN: [&str; 3] = [TLS, "--kafka-sasl-username=u", "--kafka-sasl-password=p"];
    /// Nobody answers there: a client that gets no token at once ends at once.
    const TOKEN: [&str; 5] = [
        TLS,
        "--kafka-sasl-mechanism=OAUTHBEARER",
        "--kafka-sasl-oauthbearer-token-endpoint-url=https://127.0.0.1:1/token",
        "--kafka-sasl-oauthbearer-client-id=id",
        "--kafka-sasl-oauthbearer-client-secret=s",
    ];

    fn with(more: &[&str]) -> anyhow::Result<ClientConfig> {
        let args = ["test", "--kafka-brokers=b:1"].iter().chain(more);
        let config = Only::<KafkaConfig>::try_parse_from(args).unwrap().settings;
        let protocol = config.kafka_security_protocol.to_ascii_uppercase();
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", "b:1").set("security.protocol", &protocol).set("log_level", "0");
        client.extend(config.kafka_properties.iter().flat_map(|list| client_properties::parse(list.expose()).unwrap()));
        set_login(&mut client, &config, &protocol)?;
        set_tls(&mut client, &config.tls, &protocol)?;
        Ok(client)
    }

    fn line(more: &[&str]) -> String {
        with(more).unwrap_err().to_string()
    }

    /// The name of the setting of an argument.
    fn name(argument: &str) -> String {
        argument.split('=').next().unwrap().trim_start_matches("--").to_uppercase().replace('-', "_")
    }

    fn created(more: &[&str]) -> Result<ClientConfig, String> {
        let client = with(more).unwrap();
        client.create::<BaseConsumer>().map_err(|error| error.to_string())?;
        Ok(client)
    }

    #[test]
    fn every_mechanism_is_built_in() {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let mechanism = format!("--kafka-sasl-mechanism={mechanism}");
            created(&[&LOGIN[..], &[mechanism.as_str()]].concat()).unwrap();
        }
        // Needs librdkafka with libcurl: were libcurl's headers there when it was compiled (devstack/install)?
        let more = ["--kafka-sasl-oauthbearer-scope=a b", "--kafka-sasl-oauthbearer-extensions=k=v,l=w"];
        let client = created(&[&TOKEN[..], &more].concat()).unwrap();
        for (name, value) in [
            ("sasl.mechanisms", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.token.endpoint.url", "https://127.0.0.1:1/token"),
            ("sasl.oauthbearer.client.id", "id"),
            ("sasl.oauthbearer.client.secret", "s"),
            ("sasl.oauthbearer.scope", "a%20b"),
            ("sasl.oauthbearer.extensions", "k=v,l=w"),
        ] {
            assert_eq!(client.get(name), Some(value));
        }
    }

    #[test]
    fn half_a_login_is_one_clear_line() {
        assert_eq!(
            line(&LOGIN[..2]),
            "KAFKA_SECURITY_PROTOCOL=SASL_SSL needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        );
        let needs = "KAFKA_SASL_MECHANISM=OAUTHBEARER needs KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL, \
                     KAFKA_SASL_OAUTHBEARER_CLIENT_ID and KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET";
        for left_out in 2..TOKEN.len() {
            let rest: Vec<_> = TOKEN.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, one)| *one).collect();
            assert_eq!(line(&rest), needs);
        }
    }

    #[test]
    fn a_token_may_come_without_a_client_secret() {
        let metadata = "--kafka-properties=sasl.oauthbearer.metadata.authentication.type=azure_imds,\
                        sasl.oauthbearer.config=query=api-version=2018-02-01&resource=api://kafka";
        let client = with(&[&TOKEN[..2], &[metadata]].concat()).unwrap();
        client.create_native_config().unwrap();
        assert_eq!(client.get("sasl.oauthbearer.method"), Some("oidc"));
        let grant = "--kafka-properties=sasl.oauthbearer.grant.type=urn:ietf:params:oauth:grant-type:jwt-bearer";
        let said = created(&[&TOKEN[..3], &[grant]].concat()).unwrap_err();
        assert!(said.contains("sasl.oauthbearer.assertion.private.key"), "librdkafka checks the rest: {said}");
    }

    #[test]
    fn a_client_secret_goes_only_where_it_is_safe() {
        let at = |url: &str| {
            let endpoint = format!("--kafka-sasl-oauthbearer-token-endpoint-url={url}");
            with(&[&TOKEN[..2], &[endpoint.as_str()], &TOKEN[3..]].concat())
        };
        for (url, says) in [
            ("http://issuer/token", "must be https: over http, anyone on the way can read the client secret"),
            ("http://127.0.0.1.example.org/", "must be https"),
            ("ftp://issuer/token", "must be an https URL"),
            ("issuer/token", "is not a URL"),
            ("https://u:planted@issuer/token", "must not contain a user or a password"),
        ] {
            let said = at(url).unwrap_err().to_string();
            assert!(said.starts_with("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL ") && said.contains(says), "{said}");
            assert!(!said.contains("planted"));
        }
        for url in ["http://localhost:1/t", "http://127.0.0.1:1/t", "http://[::1]:1/t", "https://issuer/t?p=policy"] {
            at(url).unwrap();
        }
    }

    #[test]
    fn what_the_protocol_leaves_unused_is_refused_by_name() {
        let of_login = [&LOGIN[1..], &["--kafka-sasl-mechanism=PLAIN"], &TOKEN[2..]].concat();
        let of_tls = ["ca-location=/a", "ca-pem=a", "certificate-location=/a", "certificate-pem=a", "key-location=/a"];
        let of_tls: Vec<_> = of_tls.iter().chain(&["key-pem=a", "key-password=a"]).collect();
        let of_tls: Vec<_> = of_tls.iter().map(|one| format!("--kafka-ssl-{one}")).collect();
        for (protocol, has_login, has_tls) in [
            ("PLAINTEXT", false, false),
            ("SSL", false, true),
            ("SASL_PLAINTEXT", true, false),
            ("SASL_SSL", true, true),
        ] {
            let protocol = format!("--kafka-security-protocol={protocol}");
            let needed = if has_login { &LOGIN[1..] } else { &[] };
            let of = |more: &[&str]| with(&[&[protocol.as_str()], needed, more].concat());
            of(&[]).unwrap();
            for one in of_login
                .iter()
                .filter(|_| !has_login)
                .copied()
                .chain(of_tls.iter().filter(|_| !has_tls).map(String::as_str))
            {
                let said = of(&[one]).unwrap_err().to_string();
                assert!(said.starts_with(&format!("{} needs KAFKA_SECURITY_PROTOCOL=", name(one))), "{said}");
            }
        }
        // And what the mechanism leaves unused.
        for one in &TOKEN[2..] {
            assert_eq!(
                line(&[&LOGIN[..], &[one]].concat()),
                format!("{} needs KAFKA_SASL_MECHANISM=OAUTHBEARER, and it is PLAIN", name(one))
            );
        }
        for one in &LOGIN[1..] {
            let said = line(&[&TOKEN[..], &[one]].concat());
            assert!(said.starts_with(&format!("{} is not for OAUTHBEARER", name(one))), "{said}");
        }
    }

    #[test]
    fn a_certificate_and_its_key_need_each_other_and_come_once() {
        let of = |more: &[&str]| {
            let more: Vec<_> = more.iter().map(|one| format!("--kafka-ssl-{one}")).collect();
            let more: Vec<_> = more.iter().map(String::as_str).collect();
            line(&[&["--kafka-security-protocol=SSL"], &more[..]].concat())
        };
        for half in ["certificate-location=/c", "certificate-pem=c", "key-location=/k", "key-pem=k"] {
            assert!(of(&[half]).ends_with("need each other"), "{half}");
        }
        for what in ["ca", "certificate", "key"] {
            let (file, text) = (format!("{what}-location=/a"), format!("{what}-pem=a"));
            assert_eq!(
                of(&[&file, &text]),
                format!(
                    "KAFKA_SSL_{0}_LOCATION and KAFKA_SSL_{0}_PEM are both set: leave one of them out",
                    what.to_uppercase()
                )
            );
        }
        assert_eq!(of(&["key-password=p"]), "KAFKA_SSL_KEY_PASSWORD is set, and there is no private key");
    }

    #[test]
    fn a_pem_may_have_its_line_feeds_written_out() {
        let args = ["--kafka-security-protocol=SSL", "--kafka-ssl-ca-pem=-----BEGIN X-----\\nAA==\\n-----END X-----"];
        let client = with(&args).unwrap();
        assert_eq!(client.get("ssl.ca.pem"), Some("-----BEGIN X-----\nAA==\n-----END X-----"));
    }
}
