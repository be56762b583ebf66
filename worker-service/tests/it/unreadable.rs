//! Batches that librdkafka cannot read, on topics that `setup` did not create: the partition reports its position, and
//! a command skips them.

use crate::prelude::*;

/// Eight records that unpack to more than librdkafka reads (`receive.message.max.bytes`); returns the first offset.
async fn put_bomb(kit: &Kit, topic: &str) -> i64 {
    let record = WireRecord { value: Some(vec![0; 13 << 20]), ..wire_event("bomb", "bomb") };
    kit.write_as(topic, &vec![record; 8], Packing::Zstd, 0).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_read_is_named_and_gone_past_by_command_and_nothing_else_is() {
    let kit = Kit::new("unreadable", 2).await;
    kit.keep_compression(&kit.scope.input_topic).await;
    kit.event_at(0, "a", "1", "{}").await;
    assert_eq!(put_bomb(&kit, &kit.scope.input_topic).await, 1);
    kit.event_at(0, "a", "2", "{}").await;
    assert_eq!(put_bomb(&kit, &kit.scope.input_topic).await, 10);
    assert_eq!(put_bomb(&kit, &kit.scope.input_topic).await, 18);
    kit.event_at(0, "a", "3", "{}").await;
    kit.event_at(1, "b", "1", "{}").await;

    let worker = kit.process().await;
    let unreadable = async || worker.partition(0).await["unreadable"].clone();
    until("it is named", async || !unreadable().await.is_null()).await;
    let told = unreadable().await;
    assert_eq!(told["offset"], 1);
    assert!(told["error"].as_str().unwrap().contains("BadCompression"), "{told}");
    let (status, page) = worker.ready().await;
    assert!(status == 503 && page.to_string().contains("a partition cannot be read"), "{page}");
    worker.tells("A batch of records cannot be read").await;
    // The events before it, and those of the other partition.
    kit.until("SELECT count(*) FROM events", 2).await;
    let past = ["seek", "--partition=0", "--past-unreadable"];
    kit.fails(&past, "nothing was changed: the group ").await;
    let log = worker.end_and_log().await;
    let told: Vec<_> = log.lines().filter(|line| line.contains("a batch of records cannot be read")).collect();
    assert_eq!(told.len(), 1, "not for each time that it is fetched: {told:?}");
    assert!(told[0].contains(r#""level":"ERROR""#) && told[0].contains(r#""offset":1"#), "{}", told[0]);
    assert!(!log.contains("cannot read from Kafka"), "{log}");

    let before = kit.committed().await;
    let said = kit.succeeds(&[&past[..], &["--dry-run"]].concat()).await;
    assert!(said.ends_with("a dry run: nothing was changed\n"), "{said}");
    assert_eq!(kit.committed().await, before);
    let said = kit.succeeds(&past).await;
    let topic = &kit.scope.input_topic;
    assert!(said.starts_with(&format!("{topic} [0] 1 -> 9\n8 offsets from 1 to 8 cannot be read: ")), "{said}");
    assert!(said.ends_with("8 offsets count as lost\nthe group is moved\n"), "{said}");
    assert_eq!(kit.committed().await, BTreeMap::from([(0, 9), (1, before[&1])]));
    kit.fails(&past, "can be read where it stands, at 9").await;

    // The partition stops before the next two, which are adjacent.
    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events WHERE event_id = '2'", 1).await;
    let lost = async || worker.sample("records_lost_total").await == Some(8.0);
    until("what was skipped counts as lost", lost).await;
    let unreadable = async || worker.partition(0).await["unreadable"]["offset"].clone();
    until("and the next is named", async || unreadable().await == 10).await;
    let log = worker.end_and_log().await;
    assert!(log.contains("data loss: an operator skipped unreadable records"), "{log}");
    let to = ["seek", "--partition=0", "--to-offset=27"];
    kit.fails(&to, "the partition can be read at 26, before 27").await;
    // In two steps; no worker runs between them.
    let said = kit.succeeds(&["seek", "--partition=0", "--to-offset=14"]).await;
    assert!(said.ends_with("4 offsets count as lost\nthe group is moved\n"), "{said}");
    let said = kit.succeeds(&past).await;
    assert!(said.starts_with(&format!("{topic} [0] 14 -> 26\n4 offsets from 14 ")), "{said}");
    assert!(said.contains("\n8 offsets from 18 to 25 cannot be read: "), "{said}");
    assert!(said.ends_with("16 offsets count as lost\nthe group is moved\n"), "{said}");

    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events WHERE outcome = 'applied'", 4).await;
    until("these, too", async || worker.sample("records_lost_total").await == Some(16.0)).await;
    until("it is ready", async || worker.ready().await.0 == 200).await;
    worker.end().await;
    // They are counted once.
    let worker = kit.process().await;
    kit.event_at(0, "a", "4", "{}").await;
    kit.until("SELECT count(*) FROM events WHERE event_id = '4'", 1).await;
    assert_eq!(worker.sample("records_lost_total").await, Some(0.0));
    worker.end().await;
}

/// Of several gzip members, librdkafka reads only the first. If that ends within a record, librdkafka stops silently.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_says_nothing_of_is_a_dead_letter_and_gone_past() {
    let kit = Kit::new("silent", 1).await;
    kit.keep_compression(&kit.scope.input_topic).await;
    let three = vec![wire_event("a", "1"); 3];
    kit.write_as(&kit.scope.input_topic, &three, Packing::GzipMembers, 0).await.unwrap();
    kit.event("a", "2", "{}").await;
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 2).await;
    kit.until_committed(0, 4).await;
    let letters = kit.dead_letters(2).await;
    let offsets: Vec<_> = letters.iter().map(|letter| header(letter, "dlq.offset").unwrap()).collect();
    assert_eq!(offsets, ["1", "2"]);
    worker.stop().await.unwrap();
    let why = "stands at 4 and ends at 4; 9 is not between them";
    kit.fails(&["seek", "--partition=0", "--to-offset=9"], why).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_around_what_cannot_be_read_are_listed_and_sent() {
    let kit = Kit::new("unreadable_letters", 2).await;
    let dlq = &kit.scope.dlq_topic;
    kit.keep_compression(dlq).await;
    let put = async |numbers: std::ops::Range<i64>| {
        for n in numbers {
            kit.letter(&n.to_string(), "1", n, &[]).await;
        }
    };
    put(0..10).await;
    let first = put_bomb(&kit, dlq).await;
    assert!((1..10).contains(&first), "some are on either partition");
    put(10..20).await;

    let said = kit.command(&["dlq", "list"]).await;
    assert_eq!((said.status, said.out.lines().count()), (0, 20), "{said:?}");
    let told: Vec<_> =
        said.error.lines().filter(|line| line.contains("skipping records that cannot be read")).collect();
    assert_eq!(told.len(), 1, "{said:?}");
    for part in [r#""partition":0"#, r#""offsets":8"#, &format!(r#""from_offset":{first}"#), "Decompression"] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    let why = kit.show(0, first + 3).await.unwrap_err().to_string();
    assert!(why.starts_with(&format!("{dlq} [0] offset {} cannot be read: Decompression", first + 3)), "{why}");
    assert!(kit.show(0, first + 8).await.is_ok());
    let (summary, lines) = kit.redrive(&[]).await.unwrap();
    assert_eq!((summary.sent, summary.refused, summary.failed), (20, 0, 0), "{lines:?}");
}
