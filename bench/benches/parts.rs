//! What the pure parts cost: `cargo bench -p bench`.

#![expect(clippy::panic, clippy::unwrap_used, reason = "it may fail loudly, as a test does")]

use std::hint::black_box;
use std::time::Duration;

use api_service::auth::tokens::Tokens;
use api_service::config::Config;
use bytes::Bytes;
use clap::Parser as _;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shared::devices::{self, DeviceDelivery, EventType, submission};
use shared::kafka::ids::EventId;
use shared::kafka::{self, Envelope, Outgoing, Record};
use time::OffsetDateTime;
use worker_service::scheduler::{Action, Scheduler, Settings};

const SECRET: &str = "the secret of a measurement, long enough";

fn payload(bytes: usize) -> String {
    let field = r#""k0000":"some text, 1.5","#;
    let mut text = String::from("{");
    let mut number = 0;
    while text.len() + field.len() < bytes {
        text.push_str(&field.replace("0000", &format!("{number:04}")));
        number += 1;
    }
    text.push_str("\"end\":true}");
    text
}

fn event() -> Outgoing {
    let (device, event_type, now) = ("device-123", EventType::DeviceReported.as_str(), OffsetDateTime::now_utc());
    let mut envelope = Envelope::new(event_type, device.into(), EventId::generate(), now, Bytes::from(payload(100)));
    envelope.request_id = Some("0192f3a4-5b6c-7d8e-9f00-112233445566".into());
    envelope.user_id = Some(device.into());
    Outgoing { envelope, source: "/devices/device-123".into() }
}

fn record(event: &Outgoing, offset: i64) -> Record {
    let headers = kafka::headers(event);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
    let mut record = Record::new(Some(event.envelope.key.as_str().as_bytes()), Some(&event.envelope.data), &headers);
    record.topic = "events-input".into();
    record.offset = offset;
    record.timestamp = event.envelope.accepted_at;
    record
}

/// Parsing and checking an event, by the size of its payload.
fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for bytes in [100, 1_024, 64 * 1_024] {
        let text = Bytes::from(format!(r#"{{"device_id":"device-123","payload":{}}}"#, payload(bytes)));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{bytes}"), |bencher| {
            bencher.iter(|| submission::parse(black_box(&text)).unwrap())
        });
    }
    group.finish();
}

fn token(criterion: &mut Criterion) {
    let config = Config::try_parse_from([
        "api-service",
        "--kafka-brokers=localhost:1",
        "--database-url=postgres://localhost/x",
        "--redis-url=redis://localhost",
        "--jwt-secret",
        SECRET,
    ])
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let token =
        devstack::token::hs256(SECRET, "device-123", &["device"], &["device-123"], Duration::from_secs(3600)).unwrap();
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap();
    let mut group = criterion.benchmark_group("token");
    let tokens = Tokens::new(&config.backbone.jwt, &["device_id"]).unwrap();
    group.bench_function("remembered", |bencher| {
        bencher.iter(|| runtime.block_on(tokens.check(black_box(&token), now)).unwrap());
    });
    group.bench_function("verified", |bencher| {
        // One that has never seen it.
        bencher.iter_batched(
            || Tokens::new(&config.backbone.jwt, &["device_id"]).unwrap(),
            |fresh| runtime.block_on(fresh.check(black_box(&token), now)).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// An event's headers, and the event from its record.
fn decode(criterion: &mut Criterion) {
    let event = event();
    let record = record(&event, 1);
    criterion.bench_function("headers", |bencher| bencher.iter(|| kafka::headers(black_box(&event))));
    criterion.bench_function("decode", |bencher| bencher.iter(|| devices::decode(black_box(&record)).unwrap()));
}

/// A lane: a thousand records in, one batch out, and done.
fn lane(criterion: &mut Criterion) {
    let records: Vec<(Record, DeviceDelivery)> = (0..1_000)
        .map(|offset| {
            let record = record(&event(), offset);
            let decoded = devices::decode(&record).unwrap();
            (record, decoded)
        })
        .collect();
    let mut group = criterion.benchmark_group("lane");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("a batch of 1,000", |bencher| {
        bencher.iter_batched(
            || (Scheduler::new(Settings::default(), 7), records.clone()),
            |(mut lane, records)| {
                for (record, decoded) in records {
                    lane.arrive(record, Ok(decoded));
                }
                let Action::Apply(batch) = lane.next(Duration::ZERO) else { panic!("no batch") };
                lane.applied(batch, Ok(()), Duration::ZERO);
                lane.watermark()
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(parts, parse, token, decode, lane);
criterion_main!(parts);
