//! Answers that are compressed, and those that are not.

use std::io::Read as _;

use flate2::read::GzDecoder;
use reqwest::header::HeaderMap;

use crate::history::report;
use crate::prelude::*;

/// The body as it was before it was compressed.
fn plain(headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    match headers.get("content-encoding").map(|coding| coding.to_str().unwrap()) {
        None => body.to_vec(),
        Some("zstd") => zstd::decode_all(body).unwrap(),
        Some(coding) => {
            assert_eq!(coding, "gzip");
            let mut whole = Vec::new();
            GzDecoder::new(body).read_to_end(&mut whole).unwrap();
            whole
        }
    }
}

/// Headers and body of a 200, for a caller that accepts these codings.
async fn asked(app: &TestApp, method: &str, path: &str, codings: &str) -> (HeaderMap, bytes::Bytes) {
    let request = app.request(method, path).bearer_auth(user()).header("accept-encoding", codings);
    let response = request.send().await.unwrap();
    if method == "HEAD" {
        return (response.headers().clone(), response.bytes().await.unwrap());
    }
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    conforms(path, status, &headers, &plain(&headers, &body));
    assert_eq!(status, 200, "{path}");
    (headers, body)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// The request headers that the answer depends on.
fn vary(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_history_is_compressed_as_the_caller_asks() {
    let app = TestApp::start("compression").await;
    report(&app, 0, 10, 10_000).await;
    work(&app, 10).await;
    const PATH: &str = "/resource/d/events";
    let (headers, whole) = asked(&app, "GET", PATH, "").await;
    assert_eq!((text(&headers, "content-encoding"), vary(&headers)), (None, vec!["accept", "accept-encoding"]));
    assert!(whole.len() > 100_000, "{}", whole.len());
    for (codings, expected) in [
        ("gzip", Some("gzip")),
        ("zstd", Some("zstd")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip;q=1.0, zstd;q=0.5", Some("gzip")),
        ("br", None),
        ("gzip;q=0", None),
        ("identity", None),
    ] {
        let (headers, body) = asked(&app, "GET", PATH, codings).await;
        assert_eq!(text(&headers, "content-encoding"), expected, "{codings}");
        assert_eq!(text(&headers, "content-length"), Some(body.len().to_string().as_str()), "{codings}");
        assert_eq!(vary(&headers), ["accept", "accept-encoding"], "{codings}");
        assert_eq!(text(&headers, "content-type"), Some("application/json"), "{codings}");
        assert_eq!(plain(&headers, &body), whole, "{codings}");
        assert_eq!(body.len() < whole.len() / 10, expected.is_some(), "{codings}: {}", body.len());
        let (of_head, empty) = asked(&app, "HEAD", PATH, codings).await;
        assert_eq!((text(&of_head, "content-length"), empty.len()), (text(&headers, "content-length"), 0), "{codings}");
    }
}

#[tokio::test]
async fn small_answers_errors_and_what_the_cache_holds_are_sent_as_they_are() {
    let app = TestApp::start("compression_not").await;
    report(&app, 0, 1, 1).await;
    work(&app, 1).await;
    let is_plain = |headers: &HeaderMap| {
        text(headers, "content-encoding").is_none() && !vary(headers).contains(&"accept-encoding")
    };
    let (headers, body) = asked(&app, "GET", "/resource/d/events", "gzip, zstd").await;
    assert!(is_plain(&headers) && body.starts_with(b"{\"items\":["), "{headers:?}");
    let none = app.request("GET", "/resource/none/events").bearer_auth(user()).header("accept-encoding", "zstd");
    let none = none.send().await.unwrap();
    assert!(is_plain(none.headers()));
    is_refused(none, 404, "resource_not_found", None).await;

    report(&app, 1, 1, 100_000).await;
    work(&app, 2).await;
    for source in ["stored", "hit"] {
        let (headers, body) = asked(&app, "GET", "/resource/d", "gzip, zstd").await;
        assert!(text(&headers, "cache-status").unwrap().ends_with(source), "{headers:?}");
        assert!(is_plain(&headers) && body.starts_with(b"{\"version\":2,") && body.len() > 100_000, "{headers:?}");
    }
}

#[tokio::test]
async fn the_document_has_a_tag_for_each_coding() {
    let app = TestApp::start("compression_document").await;
    let (headers, whole) = asked(&app, "GET", "/openapi.json", "").await;
    let plain_tag = text(&headers, "etag").unwrap().to_owned();
    assert_eq!(text(&headers, "vary"), Some("accept-encoding"));
    for coding in ["gzip", "zstd"] {
        let (headers, body) = asked(&app, "GET", "/openapi.json", coding).await;
        assert_eq!(
            (text(&headers, "content-encoding"), text(&headers, "vary")),
            (Some(coding), Some("accept-encoding"))
        );
        assert_eq!(plain(&headers, &body), whole);
        assert!(body.len() < whole.len() / 3, "{coding}: {} of {}", body.len(), whole.len());
        let tag = text(&headers, "etag").unwrap();
        assert_eq!(tag, format!("{}-{coding}\"", plain_tag.trim_end_matches('"')));
        for given in [tag, &plain_tag] {
            let again = app.request("GET", "/openapi.json").header("if-none-match", given);
            let (status, headers, _) = checked(again.header("accept-encoding", coding).send().await.unwrap()).await;
            assert_eq!((status, text(&headers, "etag")), (304, Some(tag)));
        }
    }
}

/// Many at once are all answered, and a slow reader holds what is sent to it, not what it was before.
#[tokio::test]
async fn compressed_answers_take_their_own_room() {
    const ALL: usize = 18_000_000;
    let app = TestApp::with("compression_room", &["--max-bytes-in-flight=18000000"]).await;
    report(&app, 0, 8, 250_000).await;
    work(&app, 8).await;
    let is_free = async || {
        let left = app.backbone.answers.left();
        if left == ALL { Ok(()) } else { Err(left) }
    };
    let fetch = || asked(&app, "GET", "/resource/d/events", "gzip");
    // More than there is room for, if any held its room for longer than it is written.
    for _ in 0..4 {
        let some = join_all((0..3).map(|_| fetch())).await;
        assert!(some.iter().all(|(headers, body)| plain(headers, body).len() > 2_000_000));
    }
    found("the room is free again", &is_free).await;

    let mut idler = Raw::connect_narrow(app.address).await;
    let head = format!("GET /resource/d/events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n", user());
    idler.write(&format!("{head}accept-encoding: gzip\r\n\r\n")).await;
    idler.read_until("content-encoding: gzip\r\n").await;
    found("a reader that stops holds little", &is_free).await;
    drop(idler);
}
