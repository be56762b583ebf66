//! Before they are compared, both APIs have to answer alike, and their records have to mean the same to the worker.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use devstack::{read_topic, token};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use crate::bed::{self, SECRET, Site, TestBed};
use crate::records;

/// Stands for the id of an event in a body.
const EVENT: &str = "EVENT";
const JSON: &str = "application/json";
/// Events that are accepted, without the member `event_id`.
const GOOD: [&str; 4] = [
    r#""device_id":"agree","payload":{"status":"online","temp_c":21.5,"seq":7}"#,
    r#""device_id":"agree","occurred_at":"2026-01-02T03:04:05.678+01:00","payload":{"a":null}"#,
    r#""device_id":"site-7/line 1 {a}~%","occurred_at":null,"payload":{"a":"\u00e9\ud83d\ude00\\","b":[1e300,-0.5e-3]}"#,
    r#""device_id":"agree","payload":{"long":0.1234567890123456789012345678901234567890123456789012345678901234}"#,
];

#[derive(Debug)]
struct Case {
    token: Option<String>,
    content_type: &'static str,
    body: String,
}

/// Posts that both have to answer with the same status and the same code, the accepted ones first.
fn cases(admin: &str) -> anyhow::Result<Vec<Case>> {
    let day = Duration::from_secs(24 * 3600);
    let signed = |roles: &[&str], devices: &[&str]| token::hs256(SECRET, "bench", roles, devices, day).map(Some);
    let good = |place: usize| GOOD.get(place).map(|event| format!(r#"{{"event_id":"{EVENT}-{place}",{event}}}"#));
    let one = good(0).context("an event")?;
    let of_admin = |body: String| Case { token: Some(admin.to_owned()), content_type: JSON, body };
    let mut all: Vec<_> = (0..GOOD.len()).filter_map(good).map(of_admin).collect();
    for token in [
        None,
        Some("none".to_owned()),
        Some(token::tampered(admin).context("a token")?),
        signed(&["user"], &[])?,
        signed(&["device"], &[])?,
        signed(&["device"], &["another"])?,
    ] {
        all.push(Case { token, content_type: JSON, body: one.clone() });
    }
    all.push(Case { content_type: "text/plain", ..of_admin(one) });
    let payload = |payload: &str| format!(r#"{{"device_id":"agree","payload":{payload}}}"#);
    let event = |members: &str| format!(r#"{{{members},"payload":{{}}}}"#);
    let nested = |depth| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let of_size = |bytes| payload(&format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes)));
    let bodies = [
        String::new(),
        "{".to_owned(),
        "[1]".to_owned(),
        payload("{}") + "x",
        payload("[]"),
        payload("null"),
        payload(r#"{"a":1,"b":{"c":1,"c":2}}"#),
        payload(r#"{"a":"\u0000"}"#),
        payload(r#"{"a":"\ud800"}"#),
        payload(r#"{"\ud800":1}"#),
        payload(&nested(65)),
        payload(&format!(r#"{{"a":{}}}"#, "7".repeat(65))),
        payload(r#"{"a":1e309}"#),
        payload(r#"{"a":1e-401}"#),
        payload(&format!(r#"{{"a":0.{}}}"#, "0".repeat(600))),
        payload(r#"{"a":NaN}"#),
        payload(r#"{"a":01}"#),
        payload(&format!(r#"{{"a":[{}]}}"#, ["1e300"; 2_000].join(","))),
        of_size(257 * 1024),
        of_size(512 * 1024),
        r#"{"device_id":"agree"}"#.to_owned(),
        event(r#""device_id":7"#),
        event(r#""device_id":"""#),
        event(r#""device_id":"a ""#),
        event(r#""device_id":"a/../b""#),
        event(r#""device_id":"Kühlraum""#),
        event(&format!(r#""device_id":"{}""#, "a".repeat(129))),
        event(r#""device_id":"a","device_id":"b""#),
        event(r#""device_id":"a","event_id":"a b""#),
        event(r#""device_id":"a","occurred_at":"2026-01-02""#),
        event(r#""device_id":"a","occurred_at":"2026-01-02T03:04:05""#),
        event(r#""device_id":"a","unknown":1"#),
    ];
    all.extend(bodies.into_iter().map(of_admin));
    Ok(all)
}

/// Posts the same to both; then the worker has to find events that are the same, and nothing else.
pub(super) fn posts(site: &Site<'_>, ours: &str, python: &str) -> anyhow::Result<()> {
    let (client, runtime) = (Client::new(), &site.bed.runtime);
    for (number, case) in cases(&site.bed.token)?.iter().enumerate() {
        let answers = runtime.block_on(async {
            let ours = post(&client, ours, case, "ours").await?;
            anyhow::Ok([ours, post(&client, python, case, "python").await?])
        })?;
        let [one, other] = &answers;
        let is_right = one == other && (one.0 == StatusCode::ACCEPTED) == (number < GOOD.len());
        ensure!(is_right, "the APIs disagree on {case:?}: {answers:?}");
    }
    let worker = site.worker(&[])?;
    site.until_caught_up(Duration::from_secs(60))?;
    bed::end(&worker)?;
    let [all, same] = site.numbers(
        "SELECT (SELECT count(*) FROM events), count(*) FROM events AS a JOIN events AS b
           USING (device_id, type, payload, user_id)
         WHERE a.event_id LIKE 'ours-%' AND b.event_id = replace(a.event_id, 'ours', 'python')
           AND a.request_id <> b.request_id
           AND (a.occurred_at = b.occurred_at OR a.occurred_at = a.accepted_at AND b.occurred_at = b.accepted_at)",
    )?;
    ensure!([all, same] == [8.0, 4.0], "of {all} events {same} are the same from both APIs");
    let letters = read_topic(&site.scope.endpoints.kafka_brokers, &site.scope.dlq_topic, |_| ())?;
    ensure!(letters.is_empty(), "the worker refused {} of their records", letters.len());
    Ok(())
}

/// The status and the code of an answer.
async fn post(client: &Client, base: &str, case: &Case, side: &str) -> anyhow::Result<(StatusCode, Option<String>)> {
    let request = client.post(format!("{base}/events")).header("content-type", case.content_type);
    let request = match &case.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let answer = request.body(case.body.replace(EVENT, side)).send().await?;
    let (status, body): (_, Value) = (answer.status(), answer.json().await?);
    let told = if status.is_success() { "/status" } else { "/code" };
    Ok((status, body.pointer(told).and_then(Value::as_str).map(str::to_owned)))
}

/// Reads the same from both.
pub(super) fn reads(bed: &TestBed, ours: &str, python: &str) -> anyhow::Result<()> {
    let (client, device) = (Client::new(), records::device(7));
    bed.runtime.block_on(async {
        let get = async |base: &str, id: &str, known: &str| {
            let request = client.get(format!("{base}/resource/{id}")).bearer_auth(&bed.token);
            told(request.header("if-none-match", known).send().await?).await
        };
        let tag = get(ours, &device, "\"\"").await?.1.get("etag").cloned().context("no entity tag")?;
        let cases = [
            (&*device, "\"\"", 200),
            (&device, &tag, 304),
            (&device, "*", 304),
            ("nobody", "\"\"", 404),
            ("a%20", "\"\"", 404),
        ];
        for (id, known, status) in cases {
            let answers = [get(ours, id, known).await?, get(python, id, known).await?];
            let [one, other] = &answers;
            ensure!(one == other && one.0 == status, "the APIs disagree on {id}, known {known}: {answers:?}");
        }
        Ok(())
    })
}

/// What the answer to a read says; of an error its code.
async fn told(answer: Response) -> anyhow::Result<(u16, BTreeMap<&'static str, String>)> {
    let mut told = BTreeMap::new();
    for name in ["etag", "cache-control", "cache-status", "content-type"] {
        if let Some(value) = answer.headers().get(name).filter(|_| answer.status() != StatusCode::NOT_FOUND) {
            told.insert(name, value.to_str()?.to_owned());
        }
    }
    let status = answer.status();
    let body = answer.text().await?;
    let code = |body: &str| Some(serde_json::from_str::<Value>(body).ok()?.pointer("/code")?.as_str()?.to_owned());
    told.insert("body", if status.is_client_error() { code(&body).context(body)? } else { body });
    Ok((status.as_u16(), told))
}
