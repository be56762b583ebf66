//! Arbitrary records, encoded byte by byte: each becomes an event or a dead letter with the same content, and later
//! records are applied.

use std::collections::BTreeSet;

use devstack::wire::{Claims, encode_headers};
use rdkafka::message::{Headers, OwnedMessage};

use crate::malformed::{no_key_of, no_value_of, put, sound};
use crate::prelude::*;

/// Every failure prints it; it suffices to repeat the run.
const SEED: u64 = 24;

fn with(mut record: WireRecord, name: &[u8], value: Option<&[u8]>) -> WireRecord {
    record.headers.push((name.to_vec(), value.map(<[u8]>::to_vec)));
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_name_that_is_no_text_ends_no_worker() {
    let (kit, worker) = Kit::with_process("names", 1).await;
    let strange = [
        with(WireRecord { headers: Vec::new(), ..wire_event("d", "") }, b"\xff", Some(b"1")),
        with(wire_event("d", "1"), b"\xff\xfe", None),
        with(wire_event("d", "2"), b"ce_id\0x", Some(b"3")),
        with(wire_event("d", "3"), b"\0", None),
    ];
    let first = kit.write(&kit.scope.input_topic, &strange).await;
    kit.apply("d", "behind", "{}").await;
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 1);
    let letters = by_offset(kit.dead_letters(strange.len()).await);
    assert_eq!(letters.len(), strange.len());
    for (offset, record) in (first..).zip(&strange) {
        assert_holds(&letters[&offset], record);
    }
    let why = |offset: i64| header(&letters[&(first + offset)], "dlq.error").unwrap();
    assert_eq!((why(0), why(2)), ("a header's name is not UTF-8".into(), "a header's name contains a NUL".into()));
    // The same process that read them.
    worker.end().await;
}

/// Letters by the offset of their record.
fn by_offset(letters: Vec<OwnedMessage>) -> BTreeMap<i64, OwnedMessage> {
    letters.into_iter().map(|letter| (header(&letter, "dlq.offset").unwrap().parse().unwrap(), letter)).collect()
}

/// A letter has its record's key, value and headers, byte for byte.
fn assert_holds(letter: &OwnedMessage, record: &WireRecord) {
    assert_eq!((letter.key(), letter.payload()), (record.key.as_deref(), record.value.as_deref()), "seed {SEED}");
    let all: Vec<(Vec<u8>, Option<Vec<u8>>)> =
        letter.headers().unwrap().iter().map(|header| (header.key.into(), header.value.map(<[u8]>::to_vec))).collect();
    let (own, ours) = all.split_at(all.len() - 9);
    assert!(ours.iter().all(|(name, _)| name.starts_with(b"dlq.")));
    let can_stand =
        |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| !name.contains('\0') && !name.starts_with("dlq."));
    if record.headers.len() <= 1_000 && record.headers.iter().all(|(name, _)| can_stand(name)) {
        assert_eq!(own, record.headers, "seed {SEED}");
    } else {
        assert_eq!(own, [(b"dlq.headers".to_vec(), Some(encode_headers(&record.headers)))], "seed {SEED}");
    }
}

fn bytes(rng: &mut fastrand::Rng) -> Vec<u8> {
    let few = [&b""[..], b"\0", b"\xff", b"a", b"{}", b"\xc3\xa9", b"1.0", b"d1", b"dlq.topic", b"origin.topic", b"-1"];
    match rng.u8(..8) {
        0 => (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
        1 => vec![rng.u8(..); rng.usize(..3_000)],
        _ => few[rng.usize(..few.len())].to_vec(),
    }
}

fn maybe(rng: &mut fastrand::Rng) -> Option<Vec<u8>> {
    (rng.u8(..4) > 0).then(|| bytes(rng))
}

/// Random bytes, or an event with one random change.
fn any_record(rng: &mut fastrand::Rng, id: usize) -> WireRecord {
    let mut record = wire_event(&format!("d{}", rng.u8(..4)), &format!("any-{id}"));
    let at = rng.usize(..record.headers.len());
    match rng.u8(..8) {
        0 => record = WireRecord { key: maybe(rng), value: maybe(rng), headers: Vec::new() },
        1 => record.key = maybe(rng),
        2 => record.value = maybe(rng),
        3 => record.headers[at].1 = maybe(rng),
        // The same header twice.
        4 => record.headers.push((record.headers[at].0.clone(), maybe(rng))),
        5 => record.headers[at].0 = bytes(rng),
        _ => {}
    }
    for _ in 0..rng.usize(..4) {
        let at = rng.usize(..=record.headers.len());
        record.headers.insert(at, (bytes(rng), maybe(rng)));
    }
    if rng.u8(..40) == 0 {
        record.headers.extend(vec![(b"n".to_vec(), None); 1_000]);
    }
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_is_an_event_or_a_dead_letter_and_holds_up_nobody() {
    let kit = Kit::new("any_bytes", 1).await;
    // So many letters pause the partition; it is resumed each time.
    let resumed = async || {
        kit.command(&["resume"]).await.status == 0
            && kit.count("SELECT count(*) FROM events WHERE device_id = 'last'").await == 1
    };
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut claiming = Vec::new();
    for n in 0..600 {
        claiming.push(sound(any_record(&mut rng, n)));
        if rng.u8(..3) == 0 {
            claiming.push(sound(wire_event(&format!("good{}", n % 3), &n.to_string())));
        }
        // Only few, because each takes seconds.
        if n % 150 == 70 {
            let length = rng.i64(i64::from(i32::MIN)..-1);
            claiming.push(if rng.bool() { no_key_of(length) } else { no_value_of(length) });
        }
    }
    claiming.push(sound(wire_event("last", "last")));
    let mut offset = 0;
    let mut rest = &claiming[..];
    while !rest.is_empty() {
        let batch;
        (batch, rest) = rest.split_at(rng.usize(1..20).min(rest.len()));
        assert_eq!(put(&kit, &kit.scope.input_topic, 0, batch.to_vec()).await, offset);
        offset += i64::try_from(batch.len()).unwrap();
    }
    let (records, claims): (Vec<_>, Vec<_>) = claiming.into_iter().unzip();
    let worker = kit.process().await;
    until("the last one is applied", resumed).await;
    let good = records.iter().filter(|record| record.key.as_ref().is_some_and(|key| key.starts_with(b"good"))).count();
    let found = kit.count("SELECT count(*) FROM events WHERE device_id LIKE 'good%'").await;
    assert_eq!(found, i64::try_from(good).unwrap(), "every good one is applied");
    let rows: Vec<i64> = sqlx::query_scalar(r#"SELECT "offset" FROM events"#).fetch_all(&kit.pool).await.unwrap();
    let events = worker.sample("events_total").await.unwrap();
    let letters = by_offset(kit.dead_letters(0).await);
    for (offset, record) in (0..).zip(&records) {
        if let Some(letter) = letters.get(&offset) {
            assert!(!rows.contains(&offset), "{offset} is both, seed {SEED}");
            let is_malformed = claims[usize::try_from(offset).unwrap()] != Claims::default();
            assert_eq!(header(letter, "dlq.reason").unwrap() == "unreadable", is_malformed, "{offset}, seed {SEED}");
            if !is_malformed {
                assert_holds(letter, record);
            }
        }
    }
    let dead = letters.len();
    println!("{} records: {events} are events, {dead} dead letters, of seed {SEED}", records.len());
    assert_eq!(events, (records.len() - dead) as f64, "each is one or the other, seed {SEED}");
    assert!(events > 250.0 && dead > 250, "both are tried: {events} and {dead}");
    kit.end_at(worker, i64::try_from(records.len()).unwrap()).await;

    // The commands for dead letters handle them, too.
    let listed = kit.list(&[]).await;
    assert_eq!(listed.len(), dead);
    for letter in listed.iter().step_by(7) {
        kit.show(0, letter["offset"].as_i64().unwrap()).await.unwrap();
    }
    let (summary, lines) = kit.redrive(&["--rate=10000"]).await.unwrap();
    assert_eq!((summary.sent + summary.refused, summary.failed), (dead, 0), "{lines:?}");
    assert!(summary.sent > 50 && summary.refused > 50, "{summary:?}");
    let why = |line: &Value| line["refused"]["why"].as_str().map(str::to_owned);
    let why: BTreeSet<_> = lines.iter().filter_map(why).collect();
    println!("refused: {why:?}");
    assert!(why.iter().any(|why| why.contains("the name of one of its headers is not text")), "{why:?}");
    assert_eq!(kit.succeeds(&["dlq", "list"]).await.lines().count(), dead, "one line each");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_strangers_are_told_and_those_behind_them_are_sent() {
    let kit = Kit::new("strangers", 1).await;
    let mut rng = fastrand::Rng::with_seed(SEED);
    let strangers: Vec<_> = (0..300)
        .map(|n| {
            let mut record = any_record(&mut rng, n);
            for name in ["dlq.topic", "dlq.partition", "dlq.offset", "dlq.timestamp", "dlq.headers", "redrive.count"] {
                if rng.bool() {
                    record.headers.push((name.into(), maybe(&mut rng)));
                }
            }
            record
        })
        .collect();
    for batch in strangers.chunks(11) {
        kit.write(&kit.scope.dlq_topic, batch).await;
    }
    kit.letter("good", "1", 0, &[]).await;
    let listed = kit.list(&[]).await;
    assert_eq!(listed.len(), strangers.len() + 1);
    for letter in listed.iter().step_by(5) {
        kit.show(0, letter["offset"].as_i64().unwrap()).await.unwrap();
    }
    let (summary, lines) = kit.redrive(&["--key=good"]).await.unwrap();
    assert_eq!((summary.read, summary.sent, summary.failed), (301, 1, 0), "{lines:?}");
    let (summary, lines) = kit.redrive(&[]).await.unwrap();
    assert_eq!((summary.read, summary.failed), (301, 0), "{lines:?}");
    assert_eq!(summary.sent + summary.refused + summary.repeated, 301);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_of_every_size_go_whole_or_say_what_was_cut() {
    let (kit, worker) = Kit::with_process("sizes", 1).await;
    // Almost as large as the topic allows.
    let whole = [
        WireRecord { key: Some(noise(1_048_000)), ..WireRecord::default() },
        with(WireRecord::default(), &noise(1_048_000), None),
        with(WireRecord::default(), b"\xff", Some(&noise(1_048_000))),
        WireRecord { headers: vec![(vec![0xff], None); 90_000], ..WireRecord::default() },
        with(WireRecord { value: Some(noise(900 * 1024)), ..WireRecord::default() }, b"long", Some(&noise(60 * 1024))),
    ];
    for record in &whole {
        kit.write(&kit.scope.input_topic, std::slice::from_ref(record)).await;
    }
    kit.dead_letters(whole.len()).await;
    assert_memory(worker.peak(), 128);
    // A small compressed record that unpacks to a large one, on a topic that accepts it.
    kit.keep_compression(&kit.scope.input_topic).await;
    let zeros = |size| Some(vec![0; size]);
    let vast = [
        WireRecord { key: Some(b"k".to_vec()), value: zeros(30 << 20), headers: Vec::new() },
        WireRecord { key: zeros(30 << 20), value: Some(b"v".to_vec()), headers: vec![(b"h".to_vec(), zeros(3 << 20))] },
        WireRecord { headers: vec![(vec![0; 30 << 20], None)], ..WireRecord::default() },
        WireRecord { headers: vec![(b"n".to_vec(), None); 100_001], ..WireRecord::default() },
    ];
    for record in &vast {
        kit.write_as(&kit.scope.input_topic, std::slice::from_ref(record), Packing::Gzip, 0).await.unwrap();
    }
    kit.apply("d", "behind", "{}").await;

    let letters = by_offset(kit.dead_letters(whole.len() + vast.len()).await);
    for (offset, record) in (0..).zip(&whole) {
        assert_holds(&letters[&offset], record);
    }
    for (offset, record) in (5..).zip(&vast) {
        let letter = &letters[&offset];
        let size = |part: Option<&Vec<u8>>| part.map_or(0, Vec::len).to_string();
        assert_eq!(header(letter, "dlq.truncated"), Some(size(record.value.as_ref())), "{offset}");
        let key_is_cut = record.key.as_ref().is_some_and(|key| key.len() > 1 << 20);
        assert_eq!(header(letter, "dlq.key_truncated"), key_is_cut.then(|| size(record.key.as_ref())));
        assert!(record.key.as_ref().is_none_or(|key| key.starts_with(letter.key().unwrap())));
        assert!(record.value.as_ref().is_none_or(|value| value.starts_with(letter.payload().unwrap())));
    }
    assert!(header(&letters[&8], "dlq.error").unwrap().contains("its headers could not be read"));
    // Four times the 30 MiB that librdkafka unpacked, and as much again in the scheduler.
    assert_memory(worker.peak(), 512);
    kit.end_at(worker, 10).await;
    let (summary, lines) = kit.redrive(&[]).await.unwrap();
    assert_eq!((summary.refused, summary.sent, summary.failed), (7, 2, 0), "{lines:?}");
}
