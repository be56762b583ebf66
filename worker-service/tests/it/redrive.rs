//! `dlq redrive`: back to the input topic, in order, without a second effect. And `origin.` headers of other producers:
//! they block no later event.

use crate::prelude::*;

const ORIGIN: [&str; 4] = ["origin.topic", "origin.partition", "origin.offset", "origin.timestamp"];

#[tokio::test(flavor = "multi_thread")]
async fn an_event_dies_again_and_again_and_is_applied_once_its_cause_is_mended() {
    let kit = Kit::new("again", 1).await;
    kit.refuse_with("bad", "22023").await;
    let worker = kit.worker();
    kit.event("good", "0", "{}").await;
    let (_, offset) = kit.event("bad", "1", r#"{"n":1}"#).await;
    let first = kit.dead_letters(1).await.remove(0);
    let died = |name: &str| header(&first, name).unwrap();
    let place: Vec<_> = ["dlq.topic", "dlq.partition", "dlq.offset", "dlq.timestamp"].map(died).into();
    assert_eq!(place[2], offset.to_string());

    // PostgreSQL rejects the event's data: each attempt becomes a letter immediately.
    for deaths in 2..=4_usize {
        let (summary, _) = kit.redrive(&[]).await.unwrap();
        assert_eq!((summary.sent, summary.repeated, summary.refused), (1, deaths - 2, 0));
        let letters = kit.dead_letters(deaths).await;
        assert_eq!(letters.len(), deaths);
        let last = letters.iter().max_by_key(|letter| letter.offset()).unwrap();
        assert_eq!(ORIGIN.map(|name| header(last, name).unwrap()).to_vec(), place, "set once");
        assert_ne!(header(last, "dlq.offset").unwrap(), offset.to_string(), "it died elsewhere");
        assert_eq!(header(last, "redrive.count").unwrap(), (deaths - 1).to_string());
        assert_eq!(last.payload(), first.payload());
    }
    let (summary, lines) = kit.redrive(&[]).await.unwrap();
    assert_eq!((summary.sent, summary.repeated, summary.refused), (0, 3, 1), "three times are enough");
    assert_eq!(lines[0]["refused"]["why"], "already redriven 3 times");

    kit.no_longer_refuse("bad").await;
    kit.apply("bad", "2", r#"{"n":2}"#).await;
    let (summary, _) = kit.redrive(&["--force"]).await.unwrap();
    assert_eq!(summary.sent, 1);
    kit.until("SELECT count(*) FROM events WHERE device_id = 'bad'", 2).await;
    assert_eq!(kit.outcome("1").await.as_deref(), Some("superseded"), "behind a newer state");
    assert_eq!(kit.version("bad").await, Some(1));
    assert!(kit.list(&[]).await.iter().all(|letter| letter["outcome"] == "superseded"));

    // A second redrive changes nothing, whether the event is left out or sent.
    let (summary, _) = kit.redrive(&["--force"]).await.unwrap();
    assert_eq!((summary.sent, summary.applied), (0, 4));
    let (summary, _) = kit.redrive(&["--force", "--include-applied"]).await.unwrap();
    assert_eq!(summary.sent, 1);
    kit.apply("bad", "3", r#"{"n":3}"#).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE device_id = 'bad'").await, 3);
    assert_eq!(kit.version("bad").await, Some(2));
    assert_eq!(kit.dead_letters(4).await.len(), 4);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_go_back_in_the_order_of_their_first_places() {
    let kit = Kit::new("order", 3).await;
    // Each device's letters are in the partition of its key; those of "b" are out of order.
    for (device, id, died_at) in
        [("a", "1", 10), ("b", "2", 30), ("a", "2", 20), ("b", "1", 15), ("c", "1", 12), ("b", "3", 40)]
    {
        kit.letter(device, id, died_at, &[]).await;
    }
    let (dry, lines) = kit.redrive(&["--dry-run"]).await.unwrap();
    assert_eq!((dry.read, dry.sent, lines.len()), (6, 6, 7));
    assert!(lines.iter().take(6).all(|line| line["would_send"]["key"].is_string()));
    assert!(!format!("{lines:?}").contains("secret"));
    assert_eq!(kit.records(0).await.len(), 0, "a dry run sends nothing");

    let worker = kit.worker();
    let started = Instant::now();
    let (summary, lines) = kit.redrive(&["--rate=10"]).await.unwrap();
    assert_eq!((summary.sent, summary.failed), (6, 0));
    let named: Vec<_> = lines.iter().take(6).map(|line| [&line["sent"]["key"], &line["sent"]["event_id"]]).collect();
    let of_b: Vec<_> = named.iter().filter(|[device, _]| *device == "b").map(|[_, id]| *id).collect();
    assert_eq!(of_b, ["1", "2", "3"]);
    assert!(named.iter().all(|[device, id]| device.is_string() && id.is_string()), "each that was sent: {lines:?}");
    assert!(lines.iter().take(6).all(|line| line["to"]["offset"].is_i64()), "and where it is: {lines:?}");
    assert!(lines[6]["summary"].is_object() && !format!("{lines:?}").contains("secret"));
    assert!(started.elapsed() > Duration::from_millis(500), "ten a second: {:?}", started.elapsed());
    kit.until("SELECT count(*) FROM events", 6).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE outcome <> 'applied'").await, 0, "none came too late");
    assert_eq!((kit.version("a").await, kit.version("b").await), (Some(2), Some(3)));
    for record in kit.records(6).await {
        assert!(headers(&record).iter().all(|(name, _)| !name.starts_with("dlq.")));
        assert_eq!(header(&record, "redrive.count").as_deref(), Some("1"));
    }
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_and_what_cannot_be_sent_is_refused() {
    let kit = Kit::new("choose", 1).await;
    kit.letter("a", "1", 1, &[]).await;
    kit.letter("a", "2", 2, &[("dlq.truncated", "3000000")]).await;
    kit.letter("b", "1", 3, &[("dlq.reason", "rejected")]).await;
    kit.letter("b", "2", 4, &[("dlq.offset", "nowhere")]).await;
    let redriven = [
        ("origin.topic", "in"),
        ("origin.partition", "0"),
        ("origin.offset", "5"),
        ("origin.timestamp", "5"),
        ("redrive.count", "3"),
    ];
    kit.letter("c", "1", 5, &redriven).await;

    let sent = async |more: &[&str]| {
        let (summary, _) = kit.redrive(&[&["--dry-run"], more].concat()).await.unwrap();
        (summary.matched, summary.sent, summary.refused)
    };
    assert_eq!(sent(&[]).await, (5, 2, 3));
    assert_eq!(sent(&["--force"]).await, (5, 3, 2), "what was cut is never sent");
    assert_eq!(sent(&["--limit=1"]).await, (5, 1, 3));
    assert_eq!(sent(&["--key=a"]).await, (2, 1, 1));
    assert_eq!(sent(&["--device=a"]).await, (2, 1, 1), "the name of before");
    assert_eq!(sent(&["--reason=rejected"]).await, (1, 1, 0));
    assert_eq!(sent(&["--partition=0", "--offset=2"]).await, (1, 1, 0));
    assert_eq!(sent(&["--max-redrives=4"]).await, (5, 3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_while_the_workers_stores_are_away() {
    let kit = Kit::new("away", 1).await;
    kit.letter("a", "1", 1, &[]).await;
    let postgres = format!("--database-url=postgres://u@{}/none", nobody());
    let error = kit.redrive(&[&postgres]).await.unwrap_err();
    assert_eq!(error.to_string(), "nothing was sent: PostgreSQL is not ready");
    let redis = format!("--redis-url=redis://{}", nobody());
    let error = kit.redrive(&[&redis]).await.unwrap_err();
    assert_eq!(error.to_string(), "nothing was sent: Redis does not answer");
    assert_eq!(kit.records(0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_topic_is_refused_by_name_and_holds_up_nobody() {
    let kit = Kit::new("too_large", 1).await;
    let large: String = (0..4_000).map(|_| fastrand::alphanumeric()).collect();
    let large = [("large", large.as_str())];
    for (device, id, more) in [("a", "1", &[][..]), ("a", "2", &large), ("a", "3", &[]), ("b", "1", &[])] {
        kit.letter(device, id, id.parse().unwrap(), more).await;
    }
    for device in ["c", "d", "e", "f", "g"] {
        kit.letter(device, "1", 1, &large).await;
    }
    // The broker refuses records as large as some of these.
    kit.set_topic(&kit.scope.input_topic, &[("max.message.bytes", "2000")]).await;
    let why = format!("it is too large for the topic {}: raise max.message.bytes", kit.scope.input_topic);
    for records in [3, 6] {
        // The command succeeds, because another run would change nothing.
        let lines: Vec<_> = json_lines(&kit.succeeds(&["dlq", "redrive", "--json"]).await).collect();
        let refused: Vec<_> = lines.iter().filter_map(|line| line.get("refused")).collect();
        assert!(refused.iter().all(|told| told["why"] == why.as_str()), "{lines:?}");
        let offsets: Vec<_> = refused.iter().map(|told| told["offset"].as_i64().unwrap()).collect();
        assert_eq!(offsets, [1, 4, 5, 6, 7, 8], "each by its place");
        let summary = &lines[lines.len() - 1]["summary"];
        assert_eq!((&summary["sent"], &summary["refused"], &summary["failed"]), (&3.into(), &6.into(), &0.into()));
        // They are not applied yet, so they are sent again.
        assert_eq!(kit.records(records).await.len(), records);
    }

    kit.set_topic(&kit.scope.input_topic, &[]).await;
    let said = kit.succeeds(&["dlq", "redrive"]).await;
    let lines: Vec<_> = said.lines().collect();
    // The topic accepts them now.
    let summary = "9 dead letters read, 9 matched: sent 9, already applied 0, repeated 0, refused 0, failed 0";
    assert_eq!((lines.len(), lines[9]), (10, summary), "and each is named: {lines:?}");
    assert!(lines[0].starts_with("sent 0/0 key=a event=1 redrives=0 to=0/"), "{lines:?}");
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 9).await;
    assert_eq!((kit.version("b").await, kit.version("c").await), (Some(1), Some(1)), "and have one effect");
    assert_eq!(kit.count("SELECT count(*) FROM resources WHERE id = 'a' AND event_id = '3'").await, 1);
    let (summary, _) = kit.redrive(&[]).await.unwrap();
    assert_eq!((summary.sent, summary.applied), (0, 9));
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_sent_is_told_and_sent_by_the_same_command_again() {
    let kit = Kit::new("unsent", 1).await;
    for id in ["1", "2", "3"] {
        kit.letter("a", id, id.parse().unwrap(), &[]).await;
    }
    // The broker refuses records whose timestamp is more than a millisecond old; the first one waits for a connection.
    let strict = [("message.timestamp.type", "CreateTime"), ("message.timestamp.before.max.ms", "1")];
    kit.set_topic(&kit.scope.input_topic, &strict).await;
    let said = kit.command(&["dlq", "redrive", "--json"]).await;
    assert_eq!(said.status, 1, "{said:?}");
    assert_eq!(said.error.lines().last(), Some("error: 3 dead letters were not sent; run the same command again"));
    let lines: Vec<_> = json_lines(&said.out).collect();
    let why: Vec<_> = lines.iter().filter_map(|line| line["failed"]["why"].as_str()).collect();
    assert_eq!(why[1..], ["an earlier dead letter of its key was not sent"; 2], "{lines:?}");
    assert_eq!(lines[lines.len() - 1]["summary"]["failed"], 3);

    kit.set_topic(&kit.scope.input_topic, &[]).await;
    let said = kit.succeeds(&["dlq", "redrive"]).await;
    assert!(said.ends_with("sent 3, already applied 0, repeated 0, refused 0, failed 0\n"), "{said}");
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 3).await;
    assert_eq!(kit.version("a").await, Some(3));
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_failures_in_a_row_kafka_counts_as_away() {
    let kit = Kit::new("in_a_row", 1).await;
    // Each of another device and without a key, which a compacted topic refuses.
    let topic = kit.scope.input_topic.clone();
    let letters: Vec<_> = (0..5_u8)
        .map(|n| {
            let offset = n.to_string();
            let died = [("topic", topic.as_str()), ("partition", "0"), ("offset", &offset), ("timestamp", "1000")];
            let headers = died.map(|(name, value)| (format!("dlq.{name}").into_bytes(), Some(value.into())));
            WireRecord { key: None, value: None, headers: headers.into() }
        })
        .collect();
    kit.write(&kit.scope.dlq_topic, &letters).await;
    kit.letter("a", "1", 9, &[]).await;
    kit.set_topic(&topic, &[("cleanup.policy", "compact")]).await;
    let (summary, lines) = kit.redrive(&[]).await.unwrap();
    assert_eq!((summary.sent, summary.failed), (0, 6), "{lines:?}");
    let told = lines.iter().filter(|line| line["failed"].is_object()).count();
    assert_eq!(told, 3, "the rest would only wait for it: {lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_first_place_holds_up_no_later_event() {
    let (kit, worker) = Kit::with_worker("forged", 2).await;
    let topic = kit.scope.input_topic.clone();
    let now = (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).to_string();
    let (partition, _) = kit.event("a", "1", r#"{"n":1}"#).await;
    // In its own partition, at an offset that the log has not reached.
    let own = [
        ("origin.topic", topic),
        ("origin.partition", partition.to_string()),
        ("origin.offset", i64::MAX.to_string()),
        ("origin.timestamp", now),
    ];
    let own = own.each_ref().map(|(name, value)| (*name, value.as_str()));
    kit.event_with("a", "forged", r#"{"n":"forged"}"#, &own).await;
    kit.event("a", "2", r#"{"n":2}"#).await;
    kit.event("a", "3", r#"{"n":3}"#).await;
    kit.until("SELECT count(*) FROM events WHERE outcome = 'applied'", 3).await;
    let letters = kit.dead_letters(1).await;
    assert_eq!(header(&letters[0], "dlq.reason").unwrap(), "undecodable");
    let error = header(&letters[0], "dlq.error").unwrap();
    assert!(error.starts_with("origin.offset is not before the record's own offset"), "{error}");
    // In another partition, whose end this partition does not know.
    kit.put_event((Some(1 - partition), None), "a", "elsewhere", r#"{"n":"elsewhere"}"#, &own).await;
    kit.until("SELECT count(*) FROM events WHERE event_id = 'elsewhere'", 1).await;
    kit.event("a", "4", r#"{"n":4}"#).await;
    kit.event("a", "5", r#"{"n":5}"#).await;
    kit.until("SELECT count(*) FROM events WHERE event_id IN ('4', '5') AND outcome = 'applied'", 2).await;
    assert_eq!(kit.count(r#"SELECT count(*) FROM resources WHERE payload = '{"n":5}'"#).await, 1);
    worker.stop().await.unwrap();
}
