//! A record that is not an event goes to the dead-letter topic unchanged, and does not block others.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_a_dead_letter_with_everything_it_had() {
    let (kit, worker) = Kit::with_worker("poison", 1).await;
    kit.event("a", "1", "{}").await;
    let before = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000 - 1_000;
    let garbage = b"\xff\x00 not an event";
    let odd: [(&str, Option<&[u8]>); 3] = [("h", Some(b"\xfe")), ("null", None), ("h", Some(b""))];
    let (partition, offset) = kit.put(Some(b"\xffkey"), Some(garbage), &odd).await;
    kit.put(None, None, &[]).await;
    kit.apply("a", "2", "{}").await;

    let letters = kit.dead_letters(2).await;
    assert_eq!(letters.len(), 2);
    let letter = letters.iter().find(|letter| letter.payload().is_some()).unwrap();
    assert_eq!((letter.key(), letter.payload()), (Some(&b"\xffkey"[..]), Some(&garbage[..])));
    let found = headers(letter);
    let value = |name: &str| header(letter, name).unwrap();
    assert_eq!(found[..3], owned(&[("h", "\u{fffd}"), ("null", "<null>"), ("h", "")]));
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
    kit.end_at(worker, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_too_large_for_its_topic_is_cut_and_says_so() {
    let kit = Kit::new("cut", 1).await;
    // A topic that another party created, with its own limit.
    kit.set_topic(&kit.scope.dlq_topic, &[("max.message.bytes", "50000")]).await;
    let worker = kit.worker();
    let (value, small) = (noise(300_000), noise(1_000));
    for n in 0..40 {
        if n == 20 {
            kit.put(Some(b"a"), Some(&value), &[("h", Some(b"1"))]).await;
        }
        kit.put(Some(b"a"), Some(&small), &[]).await;
    }
    kit.apply("a", "behind", "{}").await;
    let letters = kit.dead_letters(41).await;
    assert_eq!(letters.len(), 41, "the others are sent once");
    let (cut, whole): (Vec<_>, Vec<_>) = letters.iter().partition(|letter| header(letter, "dlq.truncated").is_some());
    assert!(whole.len() == 40 && whole.iter().all(|letter| letter.payload() == Some(&small)));
    let payload = cut[0].payload().unwrap();
    assert!(value.starts_with(payload) && (20_000..50_000).contains(&payload.len()), "{}", payload.len());
    assert_eq!(header(cut[0], "dlq.truncated").as_deref(), Some("300000"));
    assert_eq!(header(cut[0], "dlq.reason").as_deref(), Some("undecodable"));
    assert_eq!(header(cut[0], "h").as_deref(), Some("1"));
    kit.end_at(worker, 42).await;
}
