//! OpenID discovery: the keys are those that the issuer's configuration names.

use devstack::Certificates;
use devstack::token::Signer;

use crate::issuer::Issuer;
use crate::prelude::*;
use crate::real_issuers::{jwk, published};

const CONFIGURATION: &str = "/realms/factory/.well-known/openid-configuration";
const KEYS: &str = "/realms/factory/protocol/openid-connect/certs";

#[tokio::test]
async fn the_keys_of_an_https_issuer_are_found_and_another_issuers_document_is_refused() {
    let (signer, certificates) = (
        Signer::generate("RS256", Some("FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE")).unwrap().0,
        blocking(|| Certificates::make().unwrap()).await,
    );
    let issuer = Issuer::over_tls(&[], &certificates).await;
    let base = format!("https://localhost:{}", issuer.address.port());
    let name = format!("{base}/realms/factory");
    let configuration = |issuer: &str, keys: &str| {
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{name}/protocol/openid-connect/auth"),
            "jwks_uri": keys,
            "id_token_signing_alg_values_supported": ["PS384", "RS384", "EdDSA", "ES384", "HS256", "HS512", "RS256"]
        })
    };
    // A document of another realm of the same server.
    let (keys, other) = (format!("{base}{KEYS}"), format!("{base}/realms/other"));
    issuer.say_at(CONFIGURATION, &configuration(&other, &keys));
    issuer.say_at(KEYS, &published(&[jwk(&signer, json!({"x5c": ["MIIC"]})), jwk(&signer, json!({"use": "enc"}))]));

    let scope = prepared("discovery").await;
    let settings = [
        ("JWT_ISSUER", &*name),
        ("JWT_ROLES_CLAIM", "/realm_access/roles"),
        ("JWT_JWKS_REFRESH", "1s"),
        ("SSL_CERT_FILE", certificates.authority.to_str().unwrap()),
    ];
    let binary = Binary::with_and_without(&scope, &settings, &["JWT_SECRET"]);
    let claims = |issuer: &str| json!({"sub": "alice", "iss": issuer, "exp": 4_000_000_000_u64, "realm_access": {"roles": ["user"]}});
    let get = async |issuer: &str| {
        let token = signer.sign(&claims(issuer)).unwrap();
        binary.get("/resource/none", &token).send().await.unwrap()
    };
    is_refused(get(&name).await, 503, "keys_unavailable", Some("5")).await;
    let (_, internal) = binary.ready().await;
    let error = internal["dependencies"]["jwks"]["error"].as_str().unwrap().to_owned();
    assert_eq!(error, format!("the OpenID configuration is of the issuer {other:?}, and JWT_ISSUER is {name:?}"));

    issuer.say_at(CONFIGURATION, &configuration(&name, &keys));
    devstack::kit::until("the keys are found", async || get(&name).await.status() == 404).await;
    let refused = is_refused(get(&other).await, 401, "invalid_token", None).await;
    assert_eq!(refused["detail"], format!("the token's issuer (`iss`) must be {name}"));

    // The last good keys count, whatever the document says later.
    issuer.say_at(CONFIGURATION, &configuration(&name, "http://localhost/keys"));
    let degraded = async || binary.ready().await.1["dependencies"]["jwks"]["status"] == "down";
    devstack::kit::until("it notices", degraded).await;
    assert_eq!(get(&name).await.status(), 404);
    binary.terminate();
}

#[tokio::test]
async fn a_secret_or_a_jwks_is_enough_and_the_issuer_is_not_asked() {
    let signer = Signer::generate("ES256", Some("k")).unwrap().0;
    let issuer = Issuer::start(&[&signer]).await;
    let name = format!("http://{}", issuer.address);
    issuer.say_at("/.well-known/openid-configuration", &json!({"issuer": name, "jwks_uri": format!("{name}/keys")}));
    let scope = prepared("discovery_not").await;
    let secret = Binary::with(&scope, &[("JWT_ISSUER", &name)]);
    let get = async |binary: &Binary, token: &str| binary.get("/resource/none", token).send().await.unwrap();
    let claims = json!({"sub": "a", "roles": ["user"], "iss": name, "exp": 4_000_000_000_u64});
    assert_eq!(get(&secret, &Signer::secret(SECRET).sign(&claims).unwrap()).await.status(), 404);
    assert_eq!(issuer.asked(), 0);
    assert_eq!(get(&secret, &signer.sign(&claims).unwrap()).await.status(), 401);
    secret.terminate();

    // On this machine http will do, too.
    let alone = Binary::with_and_without(&scope, &[("JWT_ISSUER", &name)], &["JWT_SECRET"]);
    assert_eq!(get(&alone, &signer.sign(&claims).unwrap()).await.status(), 404);
    assert_eq!(issuer.asked(), 2, "its configuration, and its keys");
    alone.terminate();
}
