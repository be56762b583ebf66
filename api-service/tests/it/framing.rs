//! Requests with false lengths or framing: each gets one response, a problem or, below the router, a bare status, or
//! its connection is closed. Bytes hidden behind such a request are never read as another request.

use crate::prelude::*;

/// A `POST /events` with these header lines instead of a `Content-Length`, and this text after them.
fn post(framing: &str, rest: &str) -> String {
    let token = admin();
    format!(
        "POST /events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\n{framing}\r\n\r\n{rest}"
    )
}

/// A request that would be accepted if the server read it as one.
fn smuggled() -> String {
    post(&format!("content-length: {}", EVENT.len()), EVENT)
}

/// A valid request whose headers have this many bytes in all.
fn headed(bytes: usize) -> String {
    let with = |padding: &str| post(&format!("content-length: 30\r\nconnection: close\r\nx: {padding}"), EVENT);
    with(&"x".repeat(bytes - (with("").len() - EVENT.len())))
}

fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
}

/// The statuses and codes of all responses. Checks that an error is a problem with its request's id or, without a code,
/// only a status.
fn answers(text: &str) -> Vec<(u16, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (head, after) = rest.split_once("\r\n\r\n").unwrap_or_else(|| panic!("half an answer: {rest}"));
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let status = head.strip_prefix("HTTP/1.1 ").or(head.strip_prefix("HTTP/1.0 ")).unwrap()[..3].parse().unwrap();
        let length = header("content-length").unwrap_or("0").parse().unwrap();
        let (body, next) = after.split_at(length);
        let mut code = String::new();
        if status >= 400 && header("x-request-id").is_none() {
            assert_eq!((length, header("connection")), (0, Some("close")), "{head}");
        } else if status >= 400 {
            assert_eq!(header("content-type"), Some("application/problem+json"), "{head}");
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["request_id"].as_str(), header("x-request-id"), "{head}");
            assert_eq!(body["status"], status);
            code = body["code"].as_str().unwrap().to_owned();
        }
        found.push((status, code));
        rest = next;
    }
    found
}

#[tokio::test]
async fn the_table() {
    let app = TestApp::with("framing", &["--body-timeout=1s", "--keep-alive-timeout=1s"]).await;
    let length = |length: &str| post(&format!("content-length: {length}"), EVENT);
    let coded = |coding: &str, rest: &str| post(&format!("transfer-encoding: {coding}"), rest);
    let smuggled = smuggled();
    let both = format!("content-length: {}\r\ntransfer-encoding: chunked", 5 + smuggled.len());
    let (behind, behind_one) = (format!("0\r\n\r\n{smuggled}"), format!("{}{smuggled}", chunked("{")));
    let bad = &[(400, "bad_request")][..];
    let bare = &[(400, "")][..];
    let large = &[(413, "body_too_large")][..];
    let late = &[(408, "request_timeout")][..];
    let none = &[][..];
    let huge = &[(431, "")][..];
    let not_json = &[(400, "not_json")][..];
    let then_bad = &[(400, "not_json"), (400, "")][..];
    let table = [
        ("length: negative", length("-5"), bare),
        ("length: signed", length("+30"), bare),
        ("length: empty", length(""), bare),
        ("length: hexadecimal", length("0x1e"), bare),
        ("length: a list", length("30, 30"), bare),
        ("length: no number of 64 bits", length("99999999999999999999"), bare),
        ("length: huge", length("9223372036854775807"), large),
        ("length: more than allowed", length("266241"), large),
        ("length: two that differ", post("content-length: 30\r\ncontent-length: 31", EVENT), bare),
        ("length: too long", length("31"), late),
        // The rest is not a request.
        ("length: too short", length("29"), then_bad),
        ("length: 0, and a body", length("0"), then_bad),
        ("chunks: no size", coded("chunked", "zz\r\n"), bad),
        ("chunks: negative size", coded("chunked", "-1\r\n"), bad),
        ("chunks: size beyond 64 bits", coded("chunked", "fffffffffffffffff\r\n"), bad),
        ("chunks: size of 64 bits", coded("chunked", "ffffffffffffffff\r\nx"), late),
        ("chunks: endless extension", coded("chunked", &format!("1;{}\r\n", "x".repeat(40 * 1024))), bad),
        ("chunks: no end of line behind one", coded("chunked", "1\r\nxx\r\n0\r\n\r\n"), bad),
        ("chunks: no last one", coded("chunked", &format!("{:x}\r\n{EVENT}\r\n", EVENT.len())), late),
        ("chunks: more than allowed", coded("chunked", &chunked(&" ".repeat(300 * 1024))), large),
        ("chunks: endless trailers", coded("chunked", &format!("0\r\nx: {}\r\n", "x".repeat(40 * 1024))), bad),
        ("coding: unknown", coded("identity", EVENT), bare),
        ("coding: nearly chunked", coded("xchunked", &chunked(EVENT)), bare),
        ("coding: with a parameter", coded("chunked;q=1", &chunked(EVENT)), bare),
        ("coding: not chunked in the end", coded("chunked, gzip", &chunked(EVENT)), bare),
        ("coding: packed and chunked", coded("gzip, chunked", &chunked(EVENT)), bad),
        ("coding: chunked twice", coded("chunked, chunked", &chunked(EVENT)), bad),
        ("coding: two lines", coded("gzip\r\ntransfer-encoding: chunked", &chunked(EVENT)), bad),
        ("coding: in HTTP/1.0", coded("chunked", &chunked(EVENT)).replace("HTTP/1.1", "HTTP/1.0"), bare),
        // RFC 9112, section 6.3: the chunks take precedence, and the connection is closed after them.
        ("smuggling: CL.TE", post(&both, &behind), not_json),
        ("smuggling: TE.CL", post("transfer-encoding: chunked\r\ncontent-length: 4", &behind_one), not_json),
        ("smuggling: TE.TE", post("transfer-encoding: chunked\r\ntransfer-encoding: x", &behind), bare),
        ("smuggling: a name with a blank", post("content-length: 0\r\ntransfer-encoding : chunked", &behind), bare),
        ("smuggling: a folded line", post("content-length: 0\r\nx: y\r\n transfer-encoding: chunked", &behind), bare),
        ("smuggling: a bare CR", post("content-length: 0\r\nx: y\rtransfer-encoding: chunked", "0\r\n\r\n"), bare),
        ("head: NUL in a value", post("content-length: 30\r\nx: a\0b", EVENT), bare),
        ("head: no colon", post("content-length: 30\r\nnonsense", EVENT), bare),
        ("head: no HTTP", "\u{16}\u{3}\u{1}\u{2}\0nonsense\r\n\r\n".into(), bare),
        ("head: HTTP/0.9", "GET /health/live\r\n\r\n".into(), bare),
        ("head: HTTP/3.0", "GET /health/live HTTP/3.0\r\nhost: test\r\n\r\n".into(), bare),
        ("head: HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), none),
        ("head: too large", post(&format!("x: {}", "x".repeat(32 * 1024)), EVENT), huge),
        ("head: without end", format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(512 * 1024)), huge),
        ("head: a byte too large", headed(32 * 1024 + 1), huge),
        ("head: too many lines", post(&"a: b\r\n".repeat(100), EVENT), huge),
        ("head: a path beyond all measure", format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(32 * 1024)), huge),
    ];
    let tried = table.map(async |(what, request, expected)| {
        let start = Instant::now();
        let mut raw = Raw::connect(app.address).await;
        raw.write_as_far_as_it_goes(request.as_bytes()).await;
        let found = answers(&raw.read_to_the_end().await);
        let found: Vec<_> = found.iter().map(|(status, code)| (*status, code.as_str())).collect();
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: {:?}", start.elapsed());
        (found != expected).then(|| format!("{what}: {found:?}, not {expected:?}"))
    });
    let wrong: Vec<_> = join_all(tried).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Valid but unusual requests are accepted, and nothing else is.
    for request in [
        post("content-length: 30\r\ncontent-length: 30\r\nconnection: close", EVENT),
        post("transfer-encoding: Chunked\r\nconnection: close", &chunked(EVENT)),
        post(
            "connection: close\r\ntransfer-encoding: chunked",
            "1e;x=y\r\n{\"device_id\":\"d\",\"payload\":{}}\r\n0\r\na: b\r\n\r\n",
        ),
        format!("\r\n\r\n{}", post("content-length: 30\r\nconnection: close", EVENT)),
        headed(32 * 1024),
    ] {
        let mut raw = Raw::send(app.address, &request).await;
        assert_eq!(answers(&raw.read_to_the_end().await), [(202, String::new())], "{request}");
    }
    assert_eq!(records(&app, 6).await.len(), 5);
}

#[tokio::test]
async fn a_token_of_fifteen_thousand_bytes_fits_into_the_headers() {
    let app = TestApp::start("framing_token").await;
    let get = |token: &str| app.request("GET", "/resource/none").bearer_auth(token).header("cookie", "x".repeat(8_000));
    // What is in it is a matter of the check of tokens, and answered as such.
    let refused = get(&"x".repeat(15_000)).send().await.unwrap();
    is_refused(refused, 401, "invalid_token", None).await;
}
