//! Every recipe of `docs/tokens.md`, with a token and a JWKS of the form that the issuer has. The settings are those of
//! the page; the keys are made here.

use api_service::auth::Caller;
use api_service::auth::keys::{Keys, Published, Secrets, parse};
use api_service::auth::verify::Verifier;
use api_service::config::Config;
use api_service::domains::Domains;
use clap::Parser as _;
use devstack::token::Signer;

use crate::prelude::*;

const PAGE: &str = include_str!("../../../docs/tokens.md");
const NOW: u64 = 1_800_000_000;

/// The object with these members, instead of its own if it has them; those that are null are removed.
fn with(mut object: Value, more: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    object
}

/// The public key of a signer as the issuer writes it.
pub(crate) fn jwk(signer: &Signer, more: Value) -> Value {
    with(serde_json::to_value(signer.public().unwrap()).unwrap(), more)
}

pub(crate) fn published(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

fn signer(algorithm: &str, kid: &str) -> Signer {
    Signer::generate(algorithm, Some(kid)).unwrap().0
}

/// The checks of an API that has the settings of a recipe, and these keys.
struct Recipe {
    verifier: Verifier,
    keys: Keys,
    passed_over: Vec<&'static str>,
}

impl Recipe {
    fn of(name: &str, jwks: &Value) -> Self {
        let section = PAGE.split("\n## ").find(|section| section.lines().next() == Some(name)).unwrap();
        let (_, settings) = section.split_once("```sh\n").unwrap();
        let (settings, _) = settings.split_once("```").unwrap();
        let needed = ["--kafka-brokers=b:1", "--database-url=postgres://h/d", "--redis-url=redis://h"];
        let flag = |line: &str| {
            let (name, value) = line.split_once('=').unwrap();
            format!("--{}={value}", name.to_lowercase().replace('_', "-"))
        };
        let args = ["api-service"].into_iter().chain(needed).map(str::to_owned).chain(settings.lines().map(flag));
        let config = Config::try_parse_from(args).unwrap();
        // Nothing else is needed: the keys come from the issuer, or from the file.
        config.backbone.check().unwrap();
        let declared = Domains::all().of_tokens(&config.domains);
        let verifier = Verifier::new(&config.backbone.jwt.claims, declared).unwrap();
        let set = parse(jwks.to_string().as_bytes()).unwrap();
        let passed_over = set.passed_over.into_iter().map(|(_, why)| why).collect();
        Self { verifier, keys: Keys::new(Secrets::default(), Published::Known(set.keys)), passed_over }
    }

    fn verify(&self, token: &str) -> Result<Caller, String> {
        let verified = self.verifier.verify(token, NOW, &self.keys).map_err(|rejected| rejected.parts().1)?;
        Ok(Caller::clone(&verified.caller))
    }
}

/// The subject, the roles and the devices.
fn is(found: Result<Caller, String>, subject: &str, roles: &[&str], devices: Option<&[&str]>) {
    let own = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
    let bound = devices.map(|devices| ("device_id", own(devices))).into_iter().collect();
    assert_eq!(found, Ok(Caller { subject: subject.to_owned(), is_anonymous: false, roles: own(roles), bound }));
}

fn refused(found: Result<Caller, String>, detail: &str) {
    assert_eq!(found, Err(detail.to_owned()));
}

#[test]
fn keycloak() {
    let (signing, encrypting) =
        (signer("RS256", "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"), signer("RS256", "enc"));
    let certificate = json!({"x5c": ["MIICnTCCAYUCBgGA"], "x5t": "W7r0wn5wNsPuo4mPWbBEs", "x5t#S256": "K7lDd3ZzPs"});
    let recipe = Recipe::of(
        "Keycloak",
        &published(&[
            with(jwk(&encrypting, json!({"alg": "RSA-OAEP", "use": "enc"})), certificate.clone()),
            jwk(&signing, certificate),
        ]),
    );
    assert_eq!(recipe.passed_over, ["its `use` is not `sig`"]);
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"});
    let device = json!({
        "exp": NOW + 300, "iat": NOW, "jti": "trrtcc:5b4c0d2c-8f3e-4d4d-b6f6-6a1c9a2f8f0e",
        "iss": "https://keycloak.example.com/realms/factory", "aud": ["events", "account"],
        "sub": "f3a5a1de-6f0c-4c38-a6f2-0f2d1f2f5a3c", "typ": "Bearer", "azp": "device-123", "acr": "1",
        "allowed-origins": ["/*"],
        "realm_access": {"roles": ["offline_access", "uma_authorization", "default-roles-factory"]},
        "resource_access": {
            "events": {"roles": ["events-device"]},
            "account": {"roles": ["manage-account", "view-profile"]}
        },
        "scope": "profile email", "clientHost": "10.0.0.7", "email_verified": false, "clientAddress": "10.0.0.7",
        "preferred_username": "service-account-device-123", "client_id": "device-123", "device_id": "device-123"
    });
    let sign = |claims: &Value| signing.sign_with(&header, claims).unwrap();
    let subject = "f3a5a1de-6f0c-4c38-a6f2-0f2d1f2f5a3c";
    is(recipe.verify(&sign(&device)), subject, &["device"], Some(&["device-123"]));
    let user = json!({"realm_access": {"roles": ["events-user", "admin"]}, "resource_access": null, "device_id": null});
    is(recipe.verify(&sign(&with(device.clone(), user))), subject, &["user"], None);
    let other = sign(&with(device.clone(), json!({"aud": "account"})));
    refused(recipe.verify(&other), "the token's audience (`aud`) must be events, or contain it");
    let by_other_key = encrypting.sign_with(&header, &device).unwrap();
    refused(recipe.verify(&by_other_key), "the token's signature does not match");
}

#[test]
fn auth0() {
    let (signer, next) =
        (signer("RS256", "NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg"), signer("RS256", "next"));
    let keys =
        [&signer, &next].map(|signer| jwk(signer, json!({"x5t": "NjVBRjY5MDlC", "x5c": ["MIIDDTCCAfWgAwIBAgIJAJ"]})));
    let recipe = Recipe::of("Auth0", &published(&keys));
    let machine = json!({
        "https://events.example.com/device_id": "device-123", "iss": "https://factory.eu.auth0.com/",
        "sub": "Sv7cxqT4Rzk2iXcWwz6bWbqEV2oDnDBr@clients", "aud": "https://events.example.com", "iat": NOW,
        "exp": NOW + 86_400, "scope": "write:events read:profile", "gty": "client-credentials",
        "azp": "Sv7cxqT4Rzk2iXcWwz6bWbqEV2oDnDBr"
    });
    let subject = "Sv7cxqT4Rzk2iXcWwz6bWbqEV2oDnDBr@clients";
    is(recipe.verify(&signer.sign(&machine).unwrap()), subject, &["device"], Some(&["device-123"]));
    let user = json!({
        "https://events.example.com/roles": ["operator"], "iss": "https://factory.eu.auth0.com/",
        "sub": "auth0|64f1c0ffee", "aud": ["https://events.example.com", "https://factory.eu.auth0.com/userinfo"],
        "iat": NOW, "exp": NOW + 86_400, "scope": "openid profile email", "azp": "k7Jq", "permissions": ["read:events"]
    });
    is(recipe.verify(&signer.sign(&user).unwrap()), "auth0|64f1c0ffee", &["user"], None);
    let without_slash = with(user, json!({"iss": "https://factory.eu.auth0.com"}));
    let detail = "the token's issuer (`iss`) must be https://factory.eu.auth0.com/";
    refused(recipe.verify(&signer.sign(&without_slash).unwrap()), detail);
    // Asked for without an audience.
    let detail = "the token is malformed: it has five parts, so it is encrypted, and must only be signed";
    refused(recipe.verify("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..7Zs8aI3n.kq1x.3w7x"), detail);
}

#[test]
fn cognito() {
    // One key for ID tokens and one for access tokens.
    let (id, access) = (signer("RS256", "abcdefghijklmnopqrsexample="), signer("RS256", "fgjhlkhjlkhexample="));
    let recipe = Recipe::of("Cognito", &published(&[&id, &access].map(|signer| jwk(signer, json!({})))));
    let sign =
        |signer: &Signer, kid: &str, claims: &Value| signer.sign_with(&json!({"kid": kid, "alg": "RS256"}), claims);
    let access = |claims: &Value| sign(&access, "fgjhlkhjlkhexample=", claims).unwrap();
    let user = json!({
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "cognito:groups": ["operators"],
        "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example",
        "client_id": "1example23456789dashboard", "origin_jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "event_id": "64f513be-32db-42b0-b78e-b02127b4f463", "token_use": "access", "auth_time": NOW,
        "scope": "aws.cognito.signin.user.admin openid", "exp": NOW + 3600, "iat": NOW, "version": 2,
        "jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "username": "alice"
    });
    is(recipe.verify(&access(&user)), "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", &["user"], None);
    let device = json!({
        "sub": "1example23456789devices", "token_use": "access", "scope": "events/write", "auth_time": NOW,
        "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example", "exp": NOW + 3600, "iat": NOW,
        "version": 2, "jti": "c0ffee", "client_id": "1example23456789devices", "device_id": ["device-1", "device-2"]
    });
    is(recipe.verify(&access(&device)), "1example23456789devices", &["device"], Some(&["device-1", "device-2"]));
    let of_id = json!({"token_use": "id", "aud": "1example23456789dashboard"});
    let of_id = sign(&id, "abcdefghijklmnopqrsexample=", &with(user.clone(), of_id)).unwrap();
    refused(recipe.verify(&of_id), "the token's `token_use` must be access");
    let detail = "the token's audience (`client_id`) must be 1example23456789dashboard or 1example23456789devices, or contain it";
    refused(recipe.verify(&access(&with(user, json!({"client_id": "another"})))), detail);
}

#[test]
fn entra_id() {
    let kid = "nOo3ZDrODXEK1jKWhXslHR_KXEg";
    let signer = signer("RS256", kid);
    let issuer = "https://login.microsoftonline.com/{tenantid}/v2.0";
    // Without `alg`.
    let key = json!({
        "alg": null, "x5t": kid, "x5c": ["MIIDBTCCAe2gAwIBAgIQN33ROaIJ6bJBWDCxtmJEbjANBg"], "cloud_instance_name": "microsoftonline.com",
        "issuer": issuer
    });
    let recipe = Recipe::of("Entra ID", &published(&[jwk(&signer, key)]));
    let sign = |claims: &Value| {
        let header = json!({"typ": "JWT", "nonce": "6rQ", "alg": "RS256", "x5t": kid, "kid": kid});
        signer.sign_with(&header, claims).unwrap()
    };
    let user = json!({
        "aud": "00001111-aaaa-2222-bbbb-3333cccc4444",
        "iss": "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0", "iat": NOW, "nbf": NOW,
        "exp": NOW + 4_000, "aio": "AXQAi/8IAAAAtAaZ", "azp": "dashboard", "azpacr": "0", "name": "Alice",
        "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474", "preferred_username": "alice@example.com",
        "rh": "0.ARoAv4j5cvGGr0GRqy180BHbR", "roles": ["Events.Read"], "scp": "access_as_user",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
        "uti": "fqiBqXLPj0eQa82S-IYFAA", "ver": "2.0",
        "groups": (0..150).map(|group| format!("9f1ac2f4-0f5d-4b33-8bc5-{group:012}")).collect::<Vec<_>>()
    });
    is(recipe.verify(&sign(&user)), "690222be-ff1a-4d56-abd1-7e4f7d38e474", &["user"], Some(&["dashboard"]));
    let device = json!({
        "azp": "11112222-bbbb-3333-cccc-4444dddd5555", "roles": ["Events.Write"], "scp": null, "groups": null,
        "oid": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "sub": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "name": null
    });
    let devices: &[&str] = &["11112222-bbbb-3333-cccc-4444dddd5555"];
    is(
        recipe.verify(&sign(&with(user.clone(), device))),
        "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb",
        &["device"],
        Some(devices),
    );
    let other_tenant = json!({"iss": "https://login.microsoftonline.com/99998888-0000-cccc-1111-dddd2222eeee/v2.0"});
    let detail = "the token's issuer (`iss`) must be \
        https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0";
    refused(recipe.verify(&sign(&with(user, other_tenant))), detail);
}

#[test]
fn google() {
    let signers = [
        signer("RS256", "0a7dc12664590c957ffaebf7b6718297b864ba91"),
        signer("RS256", "ab8614ff62893badce5aa79a7703b596665d2478"),
    ];
    let recipe = Recipe::of("Google", &published(&signers.each_ref().map(|signer| jwk(signer, json!({})))));
    let gateway = json!({
        "aud": "https://events.example.com", "azp": "113774264463038321964", "email_verified": true,
        "email": "gateway@factory.iam.gserviceaccount.com", "exp": NOW + 3600, "iat": NOW,
        "iss": "https://accounts.google.com", "sub": "113774264463038321964"
    });
    let sign = |claims: &Value| signers[1].sign(claims).unwrap();
    let account = "113774264463038321964";
    is(recipe.verify(&sign(&gateway)), account, &["device"], Some(&[account]));
    let stranger = with(gateway.clone(), json!({"email": "stranger@example.com"}));
    is(recipe.verify(&sign(&stranger)), account, &[], Some(&[account]));
    let unverified = with(gateway, json!({"email_verified": false}));
    refused(recipe.verify(&sign(&unverified)), "the token's `email_verified` must be true");
}

#[test]
fn firebase() {
    let signer = signer("RS256", "8d2c1d2e4f");
    let recipe = Recipe::of("Firebase", &published(&[jwk(&signer, json!({}))]));
    let device = json!({
        "roles": ["device"], "device_id": "device-123", "iss": "https://securetoken.google.com/factory-1a2b3",
        "aud": "factory-1a2b3", "auth_time": NOW, "user_id": "Zx3u", "sub": "Zx3u", "iat": NOW, "exp": NOW + 3600,
        "email": "device-123@factory.example.com", "email_verified": false,
        "firebase": {"identities": {"email": ["device-123@factory.example.com"]}, "sign_in_provider": "password"}
    });
    is(recipe.verify(&signer.sign(&device).unwrap()), "Zx3u", &["device"], Some(&["device-123"]));
    let other = with(device, json!({"aud": "another-project"}));
    refused(
        recipe.verify(&signer.sign(&other).unwrap()),
        "the token's audience (`aud`) must be factory-1a2b3, or contain it",
    );
}

#[test]
fn an_issuer_of_ones_own() {
    // Keys of several kinds, as a library writes them without being told more; tokens without a `kid`.
    let signers = ["PS384", "ES384", "ES256", "EdDSA"].map(|algorithm| signer(algorithm, algorithm));
    let bare = |signer: &Signer| jwk(signer, json!({"alg": null, "use": null, "kid": null}));
    let mut keys: Vec<_> = signers.iter().map(bare).collect();
    keys.extend([
        json!({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}),
        json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        json!("not even an object"),
    ]);
    let recipe = Recipe::of("An issuer of your own", &published(&keys));
    assert_eq!(recipe.passed_over.len(), 4);
    let claims = json!({
        "user": {"id": "u-7", "role": "device user", "devices": ["press 7", "device-1"]}, "iss": "token-service",
        "exp": NOW as f64 + 0.5, "nbf": null
    });
    for (signer, algorithm) in signers.iter().zip(["PS384", "ES384", "ES256", "EdDSA"]) {
        let token = signer.sign_with(&json!({"alg": algorithm}), &claims).unwrap();
        is(recipe.verify(&token), "u-7", &["device", "user"], Some(&["press 7", "device-1"]));
    }
    let wrong = with(claims, json!({"user": {"id": "u-7", "role": ["device"], "devices": 7}}));
    let detail = "the token's `user.devices` must be a string or a list of strings";
    let token = signers[2].sign_with(&json!({"alg": "ES256"}), &wrong).unwrap();
    refused(recipe.verify(&token), detail);
}

#[test]
fn every_recipe_is_tried() {
    let recipes = PAGE.split("\n## ").filter(|section| section.contains("```sh"));
    let names: Vec<_> = recipes.filter_map(|section| section.lines().next()).collect();
    let tried = ["Keycloak", "Auth0", "Cognito", "Entra ID", "Google", "Firebase", "An issuer of your own"];
    assert_eq!(names, tried);
}
