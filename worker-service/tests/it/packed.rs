//! Compressed batches: the broker unpacks them and limits their unpacked size, which bounds the worker's memory, too.

use crate::prelude::*;

/// An event with this many bytes of payload, which compress to almost nothing.
fn large(device: &str, id: &str, bytes: usize) -> WireRecord {
    WireRecord { value: Some(payload(bytes).into_bytes()), ..wire_event(device, id) }
}

fn payload(bytes: usize) -> String {
    format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes))
}

/// Of several gzip members, librdkafka reads only the first, silently. All are read here because the broker unpacks
/// them.
#[tokio::test(flavor = "multi_thread")]
async fn what_any_producer_compressed_is_applied() {
    let mut kit = Kit::new("packed", 1).await;
    let mut sent = 0;
    for codec in ["none", "lz4", "zstd", "snappy", "gzip"] {
        kit = kit.producing(&[("compression.type", codec), ("linger.ms", "200")]);
        kit.flood(20, &payload(3_000), |_| codec.to_owned()).await;
        sent += 20;
    }
    for packing in [Packing::None, Packing::Gzip, Packing::GzipMembers, Packing::Zstd] {
        let records: Vec<_> = (0..20).map(|n| large("w", &format!("{packing:?}-{n}"), 3_000)).collect();
        kit.write_as(&kit.scope.input_topic, &records, packing, 0).await.unwrap();
        sent += 20;
    }
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events WHERE outcome = 'applied'", sent).await;
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_unpacks_to_more_than_the_topic_takes_is_refused() {
    let kit = Kit::new("bombs", 1).await;
    let topic = &kit.scope.input_topic;
    for packing in [Packing::Gzip, Packing::GzipMembers, Packing::Zstd] {
        // One large record, and many that are small enough individually.
        for records in [vec![large("a", "1", 4 << 20)], vec![large("a", "1", 100_000); 11]] {
            let refused = kit.write_as(topic, &records, packing, 0).await.unwrap_err().to_string();
            // MESSAGE_TOO_LARGE
            assert!(refused.ends_with("error code 10"), "{packing:?}: {refused}");
        }
        kit.write_as(topic, &vec![large("a", "1", 100_000); 10], packing, 0).await.unwrap();
    }
}

/// As the API's producer writes them: lz4 compresses a megabyte of such events to four kilobytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_compressible_events_takes_bounded_memory() {
    let kit = Kit::new("compressible", 6).await;
    let kit = kit.producing(&[("compression.type", "lz4"), ("linger.ms", "50"), ("batch.size", "1000000")]);
    kit.flood(2_400, &payload(100_000), |n| format!("d{}", n % 60)).await;
    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events", 2_400).await;
    // The maximum of a worker with six partitions (docs/operations.md, Memory).
    assert_memory(worker.peak(), 256);
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_time_a_record_has_it_is_an_event_or_refused_and_holds_up_nobody() {
    let kinds = [("LogAppendTime", "uncompressed"), ("CreateTime", "uncompressed"), ("CreateTime", "producer")];
    for (kind, compression) in kinds {
        let kit = Kit::new("odd_times", 1).await;
        let topic = &kit.scope.input_topic;
        let any = i64::MAX.to_string();
        let [before, after] =
            ["message.timestamp.before.max.ms", "message.timestamp.after.max.ms"].map(|name| (name, any.as_str()));
        kit.set_topic(topic, &[("message.timestamp.type", kind), ("compression.type", compression), before, after])
            .await;
        let mut taken = 0;
        for millis in [i64::MIN, i64::MIN + 1, -62_135_596_800_001, -1_000, -2, -1, 0, 1, 253_402_300_800_000, i64::MAX]
        {
            for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
                let id = format!("{millis}-{packing:?}");
                let outcome = kit.write_as(topic, &[wire_event(&id, &id)], packing, millis).await;
                taken += i64::from(outcome.is_ok());
            }
        }
        kit.write(topic, &[wire_event("behind", "behind")]).await;
        let worker = kit.process().await;
        kit.until("SELECT count(*) FROM events WHERE event_id = 'behind'", 1).await;
        let letters = i64::try_from(kit.dead_letters(0).await.len()).unwrap();
        let events = kit.count("SELECT count(*) FROM events").await - 1;
        assert_eq!(events + letters, taken, "{kind}, {compression}");
        assert!(taken >= 10, "most are taken: {taken}");
        kit.end_at(worker, taken + 1).await;
    }
}
