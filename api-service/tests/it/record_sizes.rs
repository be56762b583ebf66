//! What is too large is too large alone: a good event is accepted, whatever it travels with.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use api_service::producer::{Outcome, Producer};
use bytes::Bytes;
use devstack::Scope;
use futures_util::future::join_all;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::{Value, json};
use shared::event::{Event, EventType, Payload};
use shared::topic::setup;
use time::OffsetDateTime;

use crate::app::{TestApp, admin, config, prepare, problem, scope};
use crate::batch::batch;
use crate::topic::records;

/// A record's headers, and the frame around a batch: never more than this.
const AROUND: usize = 600;
const MAX_PAYLOAD: usize = 256 * 1024;
/// For machines that are busy with other things.
const PATIENT: [&str; 4] = [
    "--kafka-message-timeout=30s",
    "--request-timeout=60s",
    "--max-bytes-in-flight=1073741824",
    "--kafka-queue-bytes=268435456",
];

#[derive(Debug, Clone)]
struct Sent {
    device: String,
    id: String,
    payload: String,
}

impl Sent {
    /// With a payload of this size. lz4 makes nothing of it, or next to nothing.
    fn new(random: &mut fastrand::Rng, device: String, id: String, bytes: usize, compressible: bool) -> Self {
        let frame = r#"{"x":""}"#.len();
        let length = bytes.max(frame) - frame;
        let text = match compressible {
            true => "x".repeat(length),
            false => std::iter::repeat_with(|| random.alphanumeric()).take(length).collect(),
        };
        Self { device, id, payload: format!(r#"{{"x":"{text}"}}"#) }
    }

    fn json(&self) -> String {
        format!(r#"{{"device_id":"{}","event_id":"{}","payload":{}}}"#, self.device, self.id, self.payload)
    }

    fn event(&self) -> Event {
        let now = OffsetDateTime::now_utc();
        Event {
            device_id: self.device.parse().unwrap(),
            event_id: self.id.parse().unwrap(),
            event_type: EventType::DeviceReported,
            payload: Payload::check(Bytes::from(self.payload.clone()), "").unwrap(),
            occurred_at: now,
            accepted_at: now,
            request_id: None,
            user_id: None,
            traceparent: None,
        }
    }
}

fn array(events: &[Sent]) -> String {
    format!("[{}]", events.iter().map(Sent::json).collect::<Vec<_>>().join(","))
}

/// Gives the input topic this limit, and waits until the broker has it.
async fn limit(scope: &Scope, bytes: usize) {
    limit_of(scope, bytes, "uncompressed").await;
}

/// The same where a batch counts as the broker keeps it.
async fn limit_of(scope: &Scope, bytes: usize, compression: &str) {
    let client = shared::kafka::client(&config(scope, &[]).kafka).unwrap();
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(&scope.input_topic));
    let bytes_as_text = bytes.to_string();
    let change = change.set("message.timestamp.type", "LogAppendTime").set("max.message.bytes", &bytes_as_text);
    let change = change.set("compression.type", compression);
    admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while setup::write_limits(&client, &scope.input_topic).await.unwrap().max_message_bytes != bytes {
        assert!(Instant::now() < deadline, "the topic does not get its limit");
    }
}

async fn limited(name: &str, bytes: usize) -> Scope {
    let scope = scope(name).await;
    prepare(&scope).await;
    limit(&scope, bytes).await;
    scope
}

/// Where each event first stands in the log: its partition and offset.
async fn places(app: &TestApp, count: usize) -> HashMap<(String, String), (i32, i64)> {
    let mut places = HashMap::new();
    for record in records(app, count).await {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (device, id) = (text(record.key().unwrap()), text(record.header("ce_id").unwrap()));
        let place = places.entry((device, id)).or_insert((i32::MAX, i64::MAX));
        *place = (*place).min((record.partition, record.offset));
    }
    places
}

/// Each event of a request is in the log, and those of one device stand in the request's order.
fn in_order(places: &HashMap<(String, String), (i32, i64)>, request: &[Sent]) {
    let mut last: HashMap<&str, (i32, i64)> = HashMap::new();
    for Sent { device, id, .. } in request {
        let place = *places.get(&(device.clone(), id.clone())).unwrap_or_else(|| panic!("{device}/{id} is not there"));
        if let Some(before) = last.insert(device, place) {
            assert!(before < place, "{device}/{id} at {place:?} has overtaken the one before it, at {before:?}");
        }
    }
}

/// Requests of every size up to the limit, many at once, and what must hold of each.
async fn generated(limit: usize) {
    generated_for(limit, "uncompressed").await;
}

async fn generated_for(limit: usize, compression: &str) {
    let seed = std::env::var("RECORD_SIZES_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("RECORD_SIZES_SEED={seed}, a limit of {limit}");
    let mut random = fastrand::Rng::with_seed(seed);
    let scope = limited(&format!("sizes_{limit}_{compression}"), limit + 1).await;
    limit_of(&scope, limit, compression).await;
    let app = TestApp::prepared(scope, &PATIENT).await;
    let largest = (limit - AROUND).min(MAX_PAYLOAD);
    let mut requests: Vec<Vec<Sent>> = Vec::new();
    for n in 0..60 {
        // As many as fit into 3 MiB, so that the machine is not too busy to answer.
        let events = if n % 3 == 0 { 1 } else { random.usize(2..=60) };
        // Most are small, some as large as can be, and some near what fits into a batch just so.
        let mut left = 3 << 20;
        let mut request = Vec::new();
        for m in 0..events {
            let bytes = match random.u8(0..8) {
                0 => largest,
                1 => largest - random.usize(0..64.min(largest)),
                2 => largest / random.usize(2..=8),
                3 => random.usize(1..=largest),
                _ => random.usize(1..=largest.min(20_000)),
            };
            if bytes > left {
                break;
            }
            left -= bytes;
            let device = format!("d{}", random.usize(0..10));
            let compressible = random.u8(0..4) == 0;
            request.push(Sent::new(&mut random, device, format!("{n}-{m}"), bytes, compressible));
        }
        requests.push(request);
    }
    for some in requests.chunks(12) {
        let answers = join_all(some.iter().map(async |request| match &request[..] {
            [only] => app.submit(only.json()).await,
            many => batch(&app, &admin(), "application/json", array(many)).send().await.unwrap(),
        }));
        for answer in answers.await {
            let status = answer.status();
            assert_eq!(status, 202, "{}", answer.text().await.unwrap());
        }
    }
    let places = places(&app, requests.iter().map(Vec::len).sum()).await;
    for request in &requests {
        in_order(&places, request);
    }
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_of_20_kb() {
    generated(20_000).await;
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_of_100_kb() {
    generated(100_000).await;
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_of_400_kb() {
    generated(400_000).await;
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_that_keeps_what_producers_compressed() {
    generated_for(100_000, "producer").await;
}

#[tokio::test]
async fn good_events_are_accepted_by_a_topic_of_1_mb() {
    generated(1_000_000).await;
}

#[tokio::test]
async fn what_is_too_large_alone_is_refused_alone() {
    let app = TestApp::prepared(limited("too_large", 20_000).await, &PATIENT).await;
    let mut random = fastrand::Rng::new();
    let mut of = |device: &str, id: &str, bytes| Sent::new(&mut random, device.into(), id.into(), bytes, false);
    let refused = app.submit(of("d", "0", 20_000).json()).await;
    assert_eq!(refused.status(), 413);
    assert_eq!(problem(refused).await["code"], "body_too_large");

    let request =
        [of("d", "1", 5_000), of("e", "2", 19_000), of("d", "3", 50_000), of("d", "4", 19_000), of("f", "5", 7)];
    let answer = batch(&app, &admin(), "application/json", array(&request)).send().await.unwrap();
    assert_eq!(answer.status(), 207);
    let told: Value = answer.json().await.unwrap();
    let statuses: Vec<_> = told["items"].as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, [202, 202, 413, 202, 202], "{told}");
    assert_eq!(told["items"][2], json!({"index": 2, "status": 413, "code": "body_too_large", "event_id": "3"}));
    let good: Vec<_> = request.iter().filter(|sent| sent.id != "3").cloned().collect();
    let places = places(&app, good.len()).await;
    assert_eq!(places.len(), good.len());
    in_order(&places, &good);

    // lz4 makes it fit for a topic that keeps what producers compressed, and for no other.
    let compressible = Sent::new(&mut fastrand::Rng::new(), "d".into(), "6".into(), 100_000, true);
    assert_eq!(app.submit(compressible.json()).await.status(), 413);
    // The limit is another one, so that it is known when the change is there.
    limit_of(&app.scope, 20_001, "producer").await;
    assert_eq!(app.submit(compressible.json()).await.status(), 202);
}

/// The producer by itself, which nobody has told what the topic takes.
#[tokio::test]
async fn a_limit_that_is_not_known_is_found_out_by_a_refusal() {
    let scope = limited("unknown_limit", 100_000).await;
    let producer = Producer::new(&config(&scope, &PATIENT)).unwrap();
    let mut random = fastrand::Rng::new();
    let mut requests = Vec::new();
    for n in 0..6 {
        // Many devices, and one that has many events.
        let many = |m| if m % 2 == 0 { format!("d{m}") } else { "d".to_owned() };
        let request: Vec<_> =
            (0..60).map(|m| Sent::new(&mut random, many(m), format!("{n}-{m}"), 15_000, false)).collect();
        requests.push(request);
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let all: Vec<Vec<Event>> = requests.iter().map(|request| request.iter().map(Sent::event).collect()).collect();
    for outcomes in join_all(all.iter().map(|events| producer.send_all(events, deadline))).await {
        for outcome in outcomes {
            assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
        }
    }
    let app = TestApp::prepared(scope, &[]).await;
    let places = places(&app, 360).await;
    for request in &requests {
        in_order(&places, request);
    }
}

#[tokio::test]
async fn the_order_is_kept_while_the_limit_is_made_smaller() {
    let scope = limited("smaller_limit", 1_000_000).await;
    let app = TestApp::prepared(scope.clone(), &PATIENT).await;
    let mut random = fastrand::Rng::new();
    // The broker knows the producer on every partition, and the producer the limit.
    let first: Vec<_> = (0..30).map(|n| Sent::new(&mut random, format!("w{n}"), "0".into(), 10, false)).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while app.app.producer.batch_limit() != Some(1_000_000) {
        assert!(Instant::now() < deadline, "the limit is not asked for");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(batch(&app, &admin(), "application/json", array(&first)).send().await.unwrap().status(), 202);
    limit(&scope, 100_000).await;
    // Several batches of up to a megabyte, of which the last fits.
    let request: Vec<_> = (0..70).map(|n| Sent::new(&mut random, "d".into(), format!("{n}"), 30_000, false)).collect();
    let answer = batch(&app, &admin(), "application/json", array(&request)).send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, 202, "{}", answer.text().await.unwrap());
    in_order(&places(&app, 100).await, &request);
}

#[tokio::test]
async fn where_kafka_does_not_say_its_limit_a_refused_batch_is_sent_in_parts() {
    // librdkafka's own broker has no settings to be asked for, and can be told to refuse.
    let cluster = MockCluster::new(1).unwrap();
    let brokers = format!("--kafka-brokers={}", cluster.bootstrap_servers());
    let app = TestApp::with("never_told", &[&brokers]).await;
    cluster.create_topic(&app.scope.input_topic, 3, 1).unwrap();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    let mut random = fastrand::Rng::new();
    cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 1]);
    for round in 0..4 {
        let request: Vec<_> =
            (0..20).map(|n| Sent::new(&mut random, format!("{n}"), format!("{round}"), 10, false)).collect();
        let answer = batch(&app, &admin(), "application/json", array(&request)).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
}
