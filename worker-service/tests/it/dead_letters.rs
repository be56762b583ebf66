//! What is no event goes to the dead-letter topic as it was, and holds up nobody.

use rdkafka::Message;

use crate::kit::{Kit, headers};

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_a_dead_letter_with_everything_it_had() {
    let kit = Kit::new("poison", 1).await;
    let worker = kit.worker();
    kit.event("a", "1", "{}").await;
    let before = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000 - 1_000;
    let garbage = b"\xff\x00 not an event";
    let odd: [(&str, Option<&[u8]>); 3] = [("h", Some(b"\xfe")), ("null", None), ("h", Some(b""))];
    let (partition, offset) = kit.put(Some(b"\xffkey"), Some(garbage), &odd).await;
    kit.put(None, None, &[]).await;
    kit.event("a", "2", "{}").await;
    kit.until("SELECT count(*) FROM events", 2).await;

    let letters = kit.dead_letters(2).await;
    assert_eq!(letters.len(), 2);
    let letter = letters.iter().find(|letter| letter.payload().is_some()).unwrap();
    assert_eq!(letter.key(), Some(&b"\xffkey"[..]));
    assert_eq!(letter.payload(), Some(&garbage[..]));
    let found = headers(letter);
    let value = |name: &str| found.iter().find(|(n, _)| n == name).unwrap().1.clone();
    assert_eq!(
        &found[..3],
        [("h", "\u{fffd}"), ("null", "<null>"), ("h", "")].map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
    assert_eq!(value("dlq.reason"), "undecodable");
    assert_eq!(value("dlq.error"), "ce_specversion is missing");
    assert_eq!(value("dlq.attempts"), "1");
    assert_eq!(value("dlq.topic"), kit.scope.input_topic);
    assert_eq!((value("dlq.partition"), value("dlq.offset")), (partition.to_string(), offset.to_string()));
    assert!(value("dlq.timestamp").parse::<i128>().unwrap() >= before, "the broker's append time");
    assert!(value("dlq.failed_at").ends_with('Z'));
    assert_eq!(value("dlq.group"), kit.scope.group);
    assert_eq!(found.len(), 3 + 9);

    let tombstone = letters.iter().find(|letter| letter.payload().is_none()).unwrap();
    assert_eq!(tombstone.key(), None, "absent stays absent");
    worker.stop().await.unwrap();
    assert_eq!(kit.committed().await[&0], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_being_no_event_is_a_dead_letter() {
    let kit = Kit::new("ways", 1).await;
    let worker = kit.worker();
    kit.event_with("a", "x", "{}", &[("ce_type", "unknown")]).await;
    kit.event_with("a", "x", "{}", &[("ce_subject", "somebody-else")]).await;
    kit.event_with("a", "x", "{}", &[("ce_acceptedat", "yesterday")]).await;
    kit.event("a", "not an id", "{}").await;
    kit.event("a", "x", "[1]").await;
    kit.event("a", "x", r#"{"a":"\u0000"}"#).await;
    kit.event("a", "good", "{}").await;
    kit.until("SELECT count(*) FROM events", 1).await;
    let errors: Vec<_> = kit
        .dead_letters(6)
        .await
        .iter()
        .map(|letter| headers(letter).into_iter().find(|(name, _)| name == "dlq.error").unwrap().1)
        .collect();
    assert_eq!(
        errors,
        [
            "ce_type: unknown event type \"unknown\"",
            "the key is not the subject",
            "ce_acceptedat is not a time of RFC 3339",
            "ce_id: may contain only A-Z a-z 0-9 . _ : -",
            "the payload must be a JSON object",
            "the payload contains \\u0000",
        ]
    );
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_too_large_for_its_topic_is_cut_and_says_so() {
    let kit = Kit::new("large", 1).await;
    let worker = kit.worker();
    // Nearly all of the input's limit; with long headers it grows past the dead-letter topic's.
    let value = vec![b'x'; 900 * 1024];
    let long = vec![b'h'; 60 * 1024];
    let uncompressible: Vec<u8> = value.iter().map(|_| fastrand::u8(..)).collect();
    kit.put(Some(b"a"), Some(&uncompressible), &[("long", Some(&long))]).await;
    kit.event("a", "behind", "{}").await;
    kit.until("SELECT count(*) FROM events", 1).await;
    let letters = kit.dead_letters(1).await;
    assert_eq!(letters[0].payload().unwrap(), uncompressible, "what fits is not cut");
    worker.stop().await.unwrap();
}
