//! The inbox: each subscriber takes an event once.

use std::collections::HashMap;

use shared::devices::DeviceDelivery;
use shared::store::inbox::{admit, expire_inbox};
use shared::store::{Failure, Once, Tx, Work};

use crate::prelude::*;

struct Taking<'a> {
    subscriber: &'static str,
    batch: Vec<&'a DeviceDelivery>,
    fails: bool,
}

impl Work for Taking<'_> {
    type Output = Vec<bool>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<bool>, Failure> {
        let new = admit(tx, self.subscriber, &self.batch).await?;
        if self.fails { Err(Failure::failed("on purpose")) } else { Ok(new) }
    }
}

/// The event `id` of a device; its number is in the outbox's streams.
fn numbered(id: &str, sequence: Option<i64>) -> DeviceDelivery {
    let mut delivery = event("d", id, "{}", at(0, 5));
    delivery.envelope.sequence = sequence;
    delivery
}

async fn take(kit: &Kit, subscriber: &'static str, batch: &[&DeviceDelivery]) -> Vec<bool> {
    kit.store.transact("", &Taking { subscriber, batch: batch.to_vec(), fails: false }).await.unwrap()
}

#[tokio::test]
async fn an_event_is_new_once_to_each_subscriber() {
    let kit = Kit::new("inbox_once").await;
    let [a, b, c] = [("b", Some(1)), ("a", Some(2)), ("c", None)].map(|(id, sequence)| numbered(id, sequence));
    let failing = Taking { subscriber: "files", batch: vec![&a, &b], fails: true };
    kit.store.transact("", &failing).await.unwrap_err();
    assert_eq!(take(&kit, "files", &[&a, &b, &a]).await, [true, true, false], "of two in a batch the first one");
    assert_eq!(take(&kit, "files", &[&c, &b, &c]).await, [true, false, false]);
    assert_eq!(take(&kit, "validator", &[&b]).await, [true]);
    assert_eq!(take(&kit, "files", &[]).await, [false; 0]);
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', subscriber, event_id, aggregate, coalesce(sequence::text, '-'),
                          extract(epoch FROM appended_at)::bigint) FROM inbox ORDER BY 1",
    )
    .fetch_all(&kit.pool)
    .await
    .unwrap();
    let expected = ["files a d 2", "files b d 1", "files c d -", "validator a d 2"];
    assert_eq!(rows, expected.map(|row| format!("{row} 1700000005")));
}

/// Rebalanced partitions, redriven records: two workers with the same events in another order.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_with_the_same_events_one_takes_each() {
    let kit = Kit::new("inbox_race").await;
    for round in 0..10 {
        let events: Vec<_> = (0..40).map(|n| numbered(&format!("{round}-{n}"), Some(n + 1))).collect();
        let tasks = [false, true].map(|reversed| {
            let (store, mut events) = (kit.store.clone(), events.clone());
            tokio::spawn(async move {
                if reversed {
                    events.reverse();
                }
                let taking = Taking { subscriber: "files", batch: events.iter().collect(), fails: false };
                let new = store.transact("", &taking).await.unwrap();
                new.into_iter().filter(|new| *new).count()
            })
        });
        let mut taken = 0;
        for task in tasks {
            taken += task.await.unwrap();
        }
        assert_eq!(taken, 40);
    }
}

#[tokio::test]
async fn operators_see_what_was_taken() {
    let kit = Kit::new("inbox_outcomes").await;
    take(&kit, "files", &[&numbered("a", None)]).await;
    let names = [("d", "a"), ("other", "a"), ("d", "b"), ("d", "a\0")].map(|(key, id)| (key.to_owned(), id.to_owned()));
    let outcomes = async |subscriber| Once::Inbox { subscriber }.outcomes(&kit.store, &names).await.unwrap();
    assert_eq!(outcomes("files").await, HashMap::from([(names[0].clone(), "taken".to_owned())]));
    assert_eq!(outcomes("validator").await, HashMap::new());
    kit.apply(&[numbered("a", None)]).await;
    let of_devices = Once::Journal(queries::JOURNAL).outcomes(&kit.store, &names).await.unwrap();
    assert_eq!(of_devices, HashMap::from([(names[0].clone(), "applied".to_owned())]));
}

#[tokio::test]
async fn the_inbox_is_emptied_after_its_retention_in_pieces() {
    let kit = Kit::new("inbox_expire").await;
    let events: Vec<_> = (0..5).map(|n| numbered(&n.to_string(), Some(n + 1))).collect();
    take(&kit, "files", &events.iter().collect::<Vec<_>>()).await;
    kit.sql("UPDATE inbox SET taken_at = now() - interval '31 days' WHERE sequence < 4").await;
    let month = Duration::from_secs(30 * 24 * 3600);
    for expected in [2, 1, 0] {
        assert_eq!(expire_inbox(&kit.store, month, 2).await.unwrap(), Some(expected));
    }
    assert_eq!(take(&kit, "files", &[&events[0], &events[4]]).await, [true, false]);
}
