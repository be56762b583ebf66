//! A gap in the offsets that is no loss: markers of transactions, and what was aborted.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::kit::{Kit, PATIENCE, client};

fn put(producer: &BaseProducer, topic: &str, id: &str) {
    let headers = OwnedHeaders::new()
        .insert(Header { key: "ce_specversion", value: Some("1.0") })
        .insert(Header { key: "ce_type", value: Some("io.edge.device.reported.v1") })
        .insert(Header { key: "ce_id", value: Some(id) })
        .insert(Header { key: "ce_subject", value: Some("d") })
        .insert(Header { key: "content-type", value: Some("application/json") });
    producer.send(BaseRecord::to(topic).partition(0).key("d").payload("{}").headers(headers)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_transactions_are_applied_and_their_markers_are_no_loss() {
    let kit = Kit::new("gaps", 1).await;
    let worker = kit.process().await;
    kit.event("d", "before", "{}").await;
    let (config, topic) =
        (client(&kit.scope).set("transactional.id", &kit.scope.group).clone(), &kit.scope.input_topic);
    tokio::task::block_in_place(|| {
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        for (ids, committed) in [(["1", "2"], true), (["3", "4"], false), (["5", "6"], true)] {
            producer.begin_transaction().unwrap();
            ids.iter().for_each(|id| put(&producer, topic, id));
            // Aborted or not, they are in the log.
            producer.flush(PATIENCE).unwrap();
            if committed {
                producer.commit_transaction(PATIENCE).unwrap();
            } else {
                producer.abort_transaction(PATIENCE).unwrap();
            }
        }
    });
    // Behind seven records and three markers.
    let (_, offset) = kit.event("d", "behind", "{}").await;
    assert_eq!(offset, 10);
    kit.until("SELECT count(*) FROM events WHERE event_id = 'behind'", 1).await;
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 6, "all but the aborted");
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE event_id IN ('3', '4')").await, 0);
    assert_eq!(kit.version("d").await, Some(6));
    let metrics = worker.page("/metrics").await;
    assert!(metrics.contains("\nrecords_lost_total 0\n"), "{metrics}");
    // Each gap was looked into by the time that it has ended.
    worker.service.terminate().unwrap();
    let ended = tokio::task::block_in_place(|| worker.service.wait(PATIENCE));
    let log = worker.service.log();
    assert!(ended.unwrap().success(), "{log}");
    assert!(!log.contains("data loss"), "{log}");
    assert!(!log.contains("a gap that cannot be explained"), "{log}");
    assert_eq!(kit.committed().await[&0], 11);
}
