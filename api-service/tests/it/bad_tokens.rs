//! Tokens that are refused, and the reason in the answer; secrets in rotation; the longest token.

use devstack::token::Signer;
use jsonwebtoken::Algorithm::{HS256, HS512};

use crate::prelude::*;
use crate::tables::{GOOD, call, claims, signed};

#[tokio::test]
async fn a_401_says_which_check_failed_and_for_which_claim_and_nothing_of_keys() {
    let settings = ["--jwt-issuer=us", "--jwt-audience=api,web", "--jwt-required-claims=token_use=access"];
    let app = TestApp::with("bad_tokens", &settings).await;
    let all = |changes: Value| {
        let mut all = json!({"token_use": "access"});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        all
    };
    let good = claims(all(json!({})));
    let by = |token: &str| app.submission(token, GOOD);
    let with = |changes: Value| by(&claims(all(changes)));
    let nobody = |line: &str| call(&app, line, None);
    let tampered = format!("{}x{}", &good[..good.len() - 2], &good[good.len() - 1..]);
    let by_other = signed(HS256, &SECRET.to_uppercase(), all(json!({})));
    let no_header = "there is no Authorization header";
    let algorithm = "the token is signed with an algorithm (`alg`) that is not accepted";
    let signature = "the token's signature does not match";
    let (issuer, audience) =
        ("the token's issuer (`iss`) must be us", "the token's audience (`aud`) must be api or web, or contain it");
    let no_parts = "the token is malformed: it does not have three parts with dots between them";
    for (what, request, detail) in [
        ("no token", nobody("POST /events").body(GOOD), no_header),
        ("no token, GET", nobody("GET /resource/a"), no_header),
        (
            "not a bearer",
            nobody("POST /events").basic_auth("a", Some("b")),
            "the Authorization header holds no bearer token",
        ),
        ("two tokens", by(&good).bearer_auth(&good), "there is more than one Authorization header"),
        ("malformed", by("nonsense"), no_parts),
        ("expired", with(json!({"exp": 1_000_000_000})), "the token has expired (`exp`)"),
        ("without an end", with(json!({"exp": null})), "the token has no `exp`"),
        ("not yet valid", with(json!({"nbf": 4_000_000_000_u64})), "the token is not valid yet (`nbf`)"),
        (
            "a time that is none",
            with(json!({"nbf": "now"})),
            "the token's `nbf` must be a number of seconds since 1970",
        ),
        ("without a subject", with(json!({"sub": null})), "the token has no `sub`"),
        ("roles that are none", with(json!({"roles": 7})), "the token's `roles` must be a string or a list of strings"),
        ("tampered with", by(&tampered), signature),
        ("another secret", by(&by_other), signature),
        ("another algorithm", by(&signed(HS512, SECRET, json!({}))), algorithm),
        ("wrong issuer", with(json!({"iss": "them"})), issuer),
        ("no issuer", with(json!({"iss": null})), issuer),
        ("wrong audience", with(json!({"aud": ["them"]})), audience),
        ("no audience", with(json!({"aud": null})), audience),
        ("another use", with(json!({"token_use": "id"})), "the token's `token_use` must be access"),
        ("no use", with(json!({"token_use": null})), "the token has no `token_use`"),
        ("the token counts before the body", by("x").body("{"), no_parts),
    ] {
        let refused = is_refused(request.send().await.unwrap(), 401, "invalid_token", None).await;
        assert_eq!(refused["detail"], detail, "{what}");
    }
    assert_eq!(by(&good).send().await.unwrap().status(), 202, "good after all");
}

#[tokio::test]
async fn a_claim_that_is_null_is_absent() {
    let app = TestApp::start("null_claims").await;
    let all =
        |roles: &str| json!({"sub": "a", "roles": [roles], "exp": 4_000_000_000_u64, "nbf": null, "device_id": null});
    let post = async |roles: &str| {
        let token = Signer::secret(SECRET).sign(&all(roles)).unwrap();
        app.submission(&token, GOOD).send().await.unwrap()
    };
    assert_eq!(post("admin").await.status(), 202);
    let refused = is_refused(post("device").await, 403, "forbidden", None).await;
    assert_eq!(refused["detail"], "a device's token must name its devices in the claim device_id");
}

#[tokio::test]
async fn a_secret_is_changed_without_a_token_that_is_refused() {
    let [new, old] = ["new", "old"].map(|secret| format!("the {secret} secret of {}", "s".repeat(64)));
    let settings =
        [format!("--jwt-secret={new}"), format!("--jwt-secret-previous={old}"), "--jwt-secret-algorithm=HS512".into()];
    let app = TestApp::with("secrets", &settings.each_ref().map(String::as_str)).await;
    let get = async |algorithm: &str, secret: &str| {
        let signer = Signer::hmac(algorithm, secret).unwrap();
        let token = signer.token("alice", &["user"], &[], Duration::from_secs(60)).unwrap();
        app.request("GET", "/resource/none").bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!((get("HS512", &new).await, get("HS512", &old).await), (404, 404));
    assert_eq!((get("HS256", &new).await, get("HS256", &old).await), (401, 401), "not their algorithm");
    assert_eq!(get("HS512", &"s".repeat(64)).await, 401);
}

/// Entra ID names up to 199 groups.
#[tokio::test]
async fn a_token_of_199_groups_is_taken_and_one_of_over_15000_bytes_is_told_so() {
    let settings = ["--jwt-roles-claim=groups", "--jwt-roles-map=9f1ac2f4-0f5d-4b33-8bc5-000000000198=admin"];
    let app = TestApp::with("large_tokens", &settings).await;
    let token = |groups: usize, more: usize| {
        let groups: Vec<_> = (0..groups).map(|group| format!("9f1ac2f4-0f5d-4b33-8bc5-{group:012}")).collect();
        let claims = json!({"sub": "a", "groups": groups, "exp": 4_000_000_000_u64, "x": "x".repeat(more)});
        Signer::secret(SECRET).sign(&claims).unwrap()
    };
    let usual = token(199, 0);
    assert!((10_000..12_000).contains(&usual.len()), "{}", usual.len());
    let limit = (3000..4000).map(|more| token(199, more)).take_while(|token| token.len() <= 15_000).last().unwrap();
    assert!(limit.len() > 14_995, "{}", limit.len());
    for taken in [usual, limit] {
        for _ in 0..2 {
            assert_eq!(app.submission(&taken, GOOD).send().await.unwrap().status(), 202, "{}", taken.len());
        }
    }
    let more = token(199, 3500);
    let refused = is_refused(app.submission(&more, GOOD).send().await.unwrap(), 401, "invalid_token", None).await;
    let said = format!("the token is too long: it has {} bytes, and may have 15000", more.len());
    assert_eq!((refused["detail"].as_str(), more.len() < 16_000), (Some(&*said), true));
}
