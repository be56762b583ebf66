//! Compressed bodies.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::prelude::*;

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).unwrap()
}

#[tokio::test]
async fn every_encoding_on_both_endpoints() {
    let app = TestApp::start("encodings").await;
    let event = br#"{"device_id":"d","payload":{"a" : 1}}"#.to_vec();
    let events = [b"[", event.as_slice(), b"]"].concat();
    for (path, body) in [("/events", &event), ("/events/batch", &events)] {
        for (encoding, packed) in [("gzip", gzip(body)), ("ZSTD", zstd(body)), ("identity", body.clone())] {
            let request = app.request("POST", path).bearer_auth(admin()).header("content-type", "application/json");
            let response = request.header("content-encoding", encoding).body(packed).send().await.unwrap();
            assert_eq!(response.status(), 202, "{encoding} on {path}");
        }
    }
    let records = records(&app, 6).await;
    assert_eq!(records.len(), 6);
    assert!(records.iter().all(|record| record.value().unwrap() == "{\"a\" : 1}"));
}

#[tokio::test]
async fn what_is_not_unpacked() {
    let app = TestApp::start("encodings_bad").await;
    let event = br#"{"device_id":"d","payload":{}}"#;
    let cut = |packed: Vec<u8>| packed[..packed.len() - 3].to_vec();
    let bomb = vec![b' '; 64 << 20];
    let table = [
        ("gzip", gzip(&bomb), 413, "body_too_large"),
        ("zstd", zstd(&bomb), 413, "body_too_large"),
        ("gzip", event.to_vec(), 400, "bad_request"),
        ("zstd", event.to_vec(), 400, "bad_request"),
        ("gzip", cut(gzip(event)), 400, "bad_request"),
        ("zstd", cut(zstd(event)), 400, "bad_request"),
        ("gzip", gzip(b"{"), 400, "not_json"),
        ("gzip, zstd", zstd(&gzip(event)), 415, "unsupported_encoding"),
        ("br", event.to_vec(), 415, "unsupported_encoding"),
    ];
    for path in ["/events", "/events/batch"] {
        for (encoding, body, status, code) in table.clone() {
            let request = app.request("POST", path).bearer_auth(admin()).header("content-type", "application/json");
            let response = request.header("content-encoding", encoding).body(body).send().await.unwrap();
            assert_eq!(response.status(), status, "{encoding} on {path}");
            let accepted = response.headers().get("accept-encoding").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(accepted.as_deref(), (status == 415).then_some("gzip, zstd"), "{encoding} on {path}");
            assert_eq!(problem(response).await["code"], code, "{encoding} on {path}");
        }
    }
}
