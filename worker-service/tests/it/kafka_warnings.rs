//! With Kafka away each of the worker's clients says the same again and again: of each kind there is one line in a while.

use crate::prelude::*;

/// What the client warned of so far: by its kind, the times, and how many others there were between.
fn warnings(worker: &Process) -> BTreeMap<String, Vec<(time::OffsetDateTime, u64)>> {
    let log = worker.service.log();
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in json_lines(&log).filter(|line| line["level"] == "WARN" && line["message"] == "Kafka client") {
        let at = line["timestamp"].as_str().unwrap();
        let at = time::OffsetDateTime::parse(at, &time::format_description::well_known::Rfc3339).unwrap();
        let left_out = line["left_out"].as_u64().unwrap_or(0);
        all.entry(line["what"].as_str().unwrap().to_owned()).or_default().push((at, left_out));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_away_each_kind_of_warning_is_told_once_in_a_while_with_the_number_of_the_others() {
    let kit = Kit::new("warnings", 1).await;
    let nobody = nobody();
    let worker = kit.process_with(&[("KAFKA_BROKERS", &nobody)]).await;
    let left_out = || warnings(&worker).values().flatten().filter(|(_, left_out)| *left_out > 0).count();
    until("some are left out, and counted", async || left_out() >= 2).await;
    for (kind, told) in warnings(&worker) {
        for pair in told.windows(2) {
            // The line is stamped when it is written.
            assert!(pair[1].0 - pair[0].0 > time::Duration::seconds(9), "{kind}: {told:?}");
        }
    }
    let log = worker.service.log();
    assert!(log.contains("Connection refused"), "the first of a kind says why: {log}");
    assert!(!log.contains("librdkafka: "), "no client logs past that: {log}");
    worker.end().await;
}
