//! Tokens that are signed with published keys: rotation, and a source that is down.

use devstack::Certificates;
use devstack::token::{Signer, jwks};

use crate::issuer::Issuer;
use crate::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn signer(algorithm: &str, kid: &str) -> Signer {
    Signer::generate(algorithm, Some(kid)).unwrap().0
}

fn token(signer: &Signer) -> String {
    signer.token("alice", &["user"], &[], MINUTE).unwrap()
}

/// 404 means: permitted, but there is no such resource.
async fn get(app: &TestApp, token: &str) -> u16 {
    app.request("GET", "/resource/none").bearer_auth(token).send().await.unwrap().status().as_u16()
}

async fn until(app: &TestApp, token: &str, status: u16) {
    devstack::kit::until(&format!("it is {status}"), async || get(app, token).await == status).await;
}

#[tokio::test]
async fn every_algorithm_and_the_secret_beside_them() {
    let signers = [signer("RS256", "r"), signer("ES256", "e"), signer("EdDSA", "d")];
    let issuer = Issuer::start(&signers.each_ref()).await;
    let app = TestApp::with("keys", &[&issuer.url()]).await;
    for signer in &signers {
        assert_eq!(get(&app, &token(signer)).await, 404);
        let event = app
            .submission(&signer.token("d", &["device"], &["d"], MINUTE).unwrap(), r#"{"device_id":"d","payload":{}}"#);
        assert_eq!(event.send().await.unwrap().status(), 202);
    }
    assert_eq!(get(&app, &admin()).await, 404);
    assert_eq!(issuer.asked(), 1, "nothing was unknown");
}

#[tokio::test]
async fn a_new_key_is_found_by_its_name_and_an_old_one_is_forgotten() {
    let (old, new) = (signer("ES256", "old"), signer("ES256", "new"));
    let issuer = Issuer::start(&[&old]).await;
    let app = TestApp::with("keys_rotation", &[&issuer.url(), "--jwt-jwks-refresh=1h"]).await;
    // The same token each time: it is cached, and must not be accepted once its key is gone.
    let (by_old, by_new) = (token(&old), token(&new));
    assert_eq!((get(&app, &by_old).await, get(&app, &by_old).await), (404, 404));
    issuer.publish(&[&new]);
    assert_eq!(get(&app, &by_old).await, 404, "nobody knows yet");
    let all = (0..20).map(|_| get(&app, &by_new));
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(answers, [404; 20], "the first to come with it makes us look, and all wait for that");
    assert_eq!(issuer.asked(), 2, "once");
    assert_eq!(get(&app, &by_old).await, 401);
}

#[tokio::test]
async fn over_https_with_an_authority_that_the_machine_trusts_and_no_other() {
    let signer = signer("ES256", "k");
    let certificates = blocking(|| Certificates::make().unwrap()).await;
    let issuer = Issuer::over_tls(&[&signer], &certificates).await;
    let url = format!("https://localhost:{}/keys", issuer.address.port());
    let scope = prepared("keys_https").await;
    let get = async |binary: &Binary| binary.get("/resource/none", &token(&signer)).send().await.unwrap();

    let trusting = [("JWT_JWKS_URL", &*url), ("SSL_CERT_FILE", certificates.authority.to_str().unwrap())];
    let binary = Binary::with(&scope, &trusting);
    assert_eq!(get(&binary).await.status(), 404, "the token is good");
    assert_eq!(issuer.asked(), 1);
    binary.terminate();

    let binary = Binary::with(&scope, &[("JWT_JWKS_URL", &*url)]);
    is_refused(get(&binary).await, 503, "keys_unavailable", Some("5")).await;
    assert_eq!(issuer.asked(), 1, "nothing is asked of somebody who cannot be trusted");
    binary.terminate();
}

#[tokio::test]
async fn made_up_names_are_no_way_to_flood_the_issuer() {
    let known = signer("ES256", "known");
    let issuer = Issuer::start(&[&known]).await;
    let app = TestApp::with("keys_flood", &[&issuer.url()]).await;
    assert_eq!(get(&app, &token(&known)).await, 404);
    let ask = async |token: String| {
        let response = app.request("GET", "/resource/none").bearer_auth(token).send().await.unwrap();
        let later = response.headers().get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        let challenge = response.headers().get("www-authenticate").cloned();
        let status = response.status().as_u16();
        let code = problem(response).await["code"].as_str().unwrap().to_owned();
        (status, code, later, challenge)
    };
    let first = token(&signer("EdDSA", "first"));
    for _ in 0..2 {
        let (status, _, later, challenge) = ask(first.clone()).await;
        assert_eq!((status, later), (401, None));
        let unknown = "the token is signed with an unknown key (`kid`)";
        assert_eq!(challenge.unwrap(), format!(r#"Bearer error="invalid_token", error_description="{unknown}""#));
    }
    let start = Instant::now();
    for number in 0..50 {
        let (status, code, later, challenge) = ask(token(&signer("EdDSA", &number.to_string()))).await;
        assert_eq!((status, &*code, challenge), (503, "keys_unavailable", None), "nobody looked for this one yet");
        assert!((1..=30).contains(&later.unwrap()), "{later:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "refused at once");
    assert_eq!(issuer.asked(), 2, "at the start, and for the first of them");
}

#[tokio::test]
async fn a_name_that_is_published_for_another_algorithm_is_refused() {
    let known = signer("ES256", "k");
    let issuer = Issuer::start(&[&known]).await;
    let app = TestApp::with("keys_algorithm", &[&issuer.url(), "--jwt-jwks-refresh=1h"]).await;
    assert_eq!(get(&app, &token(&known)).await, 404, "the keys were fetched");
    let other = token(&signer("EdDSA", "k"));
    assert_eq!((get(&app, &other).await, get(&app, &other).await), (401, 401));
    assert_eq!(issuer.asked(), 2, "at the start, and once more: the issuer may have changed the key");
}

#[tokio::test]
async fn made_up_names_do_not_keep_a_new_key_out() {
    let (old, new) = (signer("ES256", "old"), signer("ES256", "new"));
    let issuer = Issuer::start(&[&old]).await;
    let app = TestApp::with("keys_jam", &[&issuer.url(), "--jwt-jwks-refresh=1h"]).await;
    let (by_old, by_new, made_up) = (token(&old), token(&new), token(&signer("ES256", "made up")));
    assert_eq!(get(&app, &by_old).await, 404);
    assert_eq!(get(&app, &made_up).await, 401, "which is why the issuer is not asked again for a while");
    issuer.publish(&[&new]);
    let response = app.request("GET", "/resource/none").bearer_auth(&by_new).send().await.unwrap();
    let later: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&later), "{later}");
    assert_eq!(problem(response).await["code"], "keys_unavailable", "it may be good");
    let another = token(&signer("ES256", "another"));
    assert_eq!(get(&app, &another).await, 503);
    assert_eq!(issuer.asked(), 2);

    sleep(Duration::from_secs(later)).await;
    until(&app, &by_new, 404).await;
    assert_eq!(issuer.asked(), 3, "one look, at the end of the while");
    assert_eq!((get(&app, &another).await, get(&app, &by_old).await), (401, 401), "it has neither");
    assert_eq!(issuer.asked(), 3);
}

#[tokio::test]
async fn the_last_good_keys_count_while_the_issuer_is_down_or_talks_nonsense() {
    let (known, new) = (signer("ES256", "known"), signer("ES256", "new"));
    let mut issuer = Issuer::start(&[&known]).await;
    let app = TestApp::with("keys_down", &[&issuer.url(), "--jwt-jwks-refresh=1s"]).await;
    assert_eq!(get(&app, &token(&known)).await, 404);
    let redirect = format!("location: http://{}/other\r\n", issuer.address);
    for (status, headers, body) in [
        ("500 Oops", "", "{}".to_owned()),
        ("302 Found", &*redirect, String::new()),
        ("200 OK", "", "<html>".to_owned()),
        ("200 OK", "", r#"{"keys":[]}"#.to_owned()),
        ("200 OK", "", format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(300 * 1024))),
    ] {
        issuer.say(status, headers, &body);
        let asked = issuer.asked();
        devstack::kit::until("it is asked again", async || issuer.asked() >= asked + 2).await;
        assert_eq!(get(&app, &token(&known)).await, 404, "{status} {body}");
    }
    issuer.down();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(get(&app, &token(&known)).await, 404);
    let response = app.request("GET", "/resource/none").bearer_auth(token(&new)).send().await.unwrap();
    is_refused(response, 503, "keys_unavailable", Some("5")).await;
    issuer.publish(&[&new]);
    issuer.up().await;
    until(&app, &token(&new), 404).await;
    assert_eq!(get(&app, &token(&known)).await, 401);
}

/// The response of `/health/ready`, once it has this status.
async fn readiness(binary: &Binary, status: &str) -> (u16, Value) {
    let is_it = async || {
        let (code, _, body) = checked(binary.get("/health/ready", "").send().await.unwrap()).await;
        let report: Value = serde_json::from_slice(&body).unwrap();
        if report["status"] == status { Ok((code, report["dependencies"]["jwks"].clone())) } else { Err(report) }
    };
    found(status, is_it).await
}

#[tokio::test]
async fn without_any_key_it_is_not_ready_and_says_so() {
    let signer = signer("EdDSA", "k");
    let mut issuer = Issuer::down_at_first();
    let url = issuer.url();
    let url = url.strip_prefix("--jwt-jwks-url=").unwrap();
    let settings = [("JWT_JWKS_ALLOW_HTTP", "true"), ("JWT_JWKS_URL", url), ("JWT_JWKS_REFRESH", "1s")];
    let binary = Binary::with_and_without(&prepared("keys_none").await, &settings, &["JWT_SECRET"]);
    let refused = async || binary.get("/resource/none", &token(&signer)).send().await.unwrap().status().as_u16();
    assert_eq!(refused().await, 503);
    let nothing = json!({"status": "down", "age_seconds": null});
    assert_eq!(readiness(&binary, "unready").await, (503, nothing));
    // The reason is only for operators: it may name a server.
    let (status, internal) = binary.ready().await;
    assert_eq!(status, 503);
    assert!(internal["dependencies"]["jwks"]["error"].as_str().is_some_and(|error| !error.is_empty()), "{internal}");
    assert!(binary.metrics().await.contains("\njwks_keys 0\n"));
    let says = |text: &str| binary.seen().iter().filter(|line| line.contains(text)).count();
    // Another thread writes the log.
    let why = "cannot read the JWKS: no key is known yet";
    devstack::kit::until(why, async || says(why) == 1).await;

    issuer.publish(&[&signer]);
    issuer.up().await;
    let (status, jwks) = readiness(&binary, "ready").await;
    assert_eq!((status, &jwks["status"]), (200, &"up".into()));
    assert!(jwks["age_seconds"].as_u64().unwrap() < 30, "{jwks}");
    assert_eq!(refused().await, 404);
    assert!(binary.metrics().await.contains("\njwks_keys 1\n"));

    issuer.down();
    let (status, jwks) = readiness(&binary, "degraded").await;
    assert_eq!((status, &jwks["status"]), (200, &"down".into()));
    let age = async || readiness(&binary, "degraded").await.1["age_seconds"].as_u64().unwrap();
    devstack::kit::until("its age grows", async || age().await >= 3).await;
    assert_eq!(refused().await, 404, "the last ones count");
    assert_eq!(says("cannot read the JWKS: using the last known keys"), 1);
    assert_eq!(says("no key is known yet"), 1, "not again");
}

#[tokio::test]
async fn with_the_issuer_down_at_the_start_it_starts() {
    let signer = signer("EdDSA", "k");
    let mut issuer = Issuer::down_at_first();
    let app = TestApp::with("keys_late", &[&issuer.url()]).await;
    assert_eq!(get(&app, &token(&signer)).await, 503, "nobody can say whether it is good");
    assert_eq!(get(&app, &admin()).await, 404, "the secret is known all the same");
    assert_eq!(get(&app, "nonsense").await, 401, "no key would make it good");
    issuer.publish(&[&signer]);
    issuer.up().await;
    until(&app, &token(&signer), 404).await;
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let (old, new) = (signer("RS256", "old"), signer("EdDSA", "new"));
    let folder = devstack::target_dir().join("tmp");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("jwks-{}.json", std::process::id()));
    std::fs::write(&file, jwks(&[&old]).unwrap()).unwrap();
    let app = TestApp::with("keys_file", &[&format!("--jwt-jwks-file={}", file.display())]).await;
    assert_eq!((get(&app, &token(&old)).await, get(&app, &token(&new)).await), (404, 401));
    std::fs::write(&file, "half a fi").unwrap();
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(get(&app, &token(&old)).await, 404, "the last good one counts");
    std::fs::write(&file, jwks(&[&new]).unwrap()).unwrap();
    until(&app, &token(&new), 404).await;
    assert_eq!(get(&app, &token(&old)).await, 401);
    std::fs::remove_file(&file).unwrap();
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(get(&app, &token(&new)).await, 404);
}

#[tokio::test]
async fn attacks_through_http() {
    let signer = signer("RS256", "k");
    let issuer = Issuer::start(&[&signer]).await;
    let app = TestApp::with("keys_attacks", &[&issuer.url()]).await;
    let good = token(&signer);
    assert_eq!(get(&app, &good).await, 404);
    let jwk = serde_json::to_value(signer.public().unwrap()).unwrap();
    let claims = json!({"sub": "a", "roles": ["admin"], "exp": 4_000_000_000_u64});
    let by_public_key = Signer::secret(jwk["n"].as_str().unwrap()).sign(&claims).unwrap();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    for (what, bad) in [
        ("alg none", format!("eyJhbGciOiJub25lIn0.{payload}.")),
        ("the public key as a secret", by_public_key),
        ("no signature", format!("{message}.")),
        ("two segments", message.to_owned()),
        ("four segments", format!("{good}.{signature}")),
        ("padded", format!("{good}=")),
        ("remembered, but for a character", format!("{good}A")),
        ("too long", "A".repeat(15_001)),
    ] {
        let response = app.request("GET", "/resource/none").bearer_auth(bad).send().await.unwrap();
        assert_eq!(response.status(), 401, "{what}");
        assert_eq!(problem(response).await["code"], "invalid_token", "{what}");
    }
    let nobody = signer.token("a", &["guest"], &[], MINUTE).unwrap();
    assert_eq!(get(&app, &nobody).await, 403);
    assert_eq!(get(&app, &good).await, 404);
}
