//! Devices that send events, and checks of the effects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::System;

/// How long a device pauses after an accepted event.
const BETWEEN: Duration = Duration::from_millis(30);

impl System {
    /// Starts devices that send numbered events one after the other, each until it is accepted.
    pub(crate) fn load(self: &Arc<Self>, devices: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let senders = (0..devices).map(|n| {
            let (system, stop) = (Arc::clone(self), Arc::clone(&stop));
            tokio::spawn(async move { system.send_until(format!("device-{n}"), &stop).await })
        });
        Load { senders: senders.collect(), stop }
    }

    async fn send_until(&self, device: String, stop: &AtomicBool) -> Sent {
        let mut sent = Sent { device, accepted: 0, refused: BTreeMap::new() };
        while !stop.load(Ordering::Relaxed) {
            let (id, payload) = ((sent.accepted + 1).to_string(), json!({"n": sent.accepted + 1}));
            match self.post(&sent.device, &id, &payload).await {
                Ok(response) if response.status() == 202 => {
                    sent.accepted += 1;
                    tokio::time::sleep(BETWEEN).await;
                }
                Ok(response) => {
                    assert_eq!(response.status(), 503, "{:?}", response.text().await);
                    assert!(response.headers().contains_key("retry-after"));
                    let problem: Value = response.json().await.unwrap();
                    *sent.refused.entry(problem["code"].as_str().unwrap().to_owned()).or_default() += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => panic!("the API broke off: {error}"),
            }
        }
        sent
    }

    /// Waits until every accepted event has had its effect, and checks that it had exactly one and can be
    /// read.
    pub(crate) async fn settle(&self, load: &[Sent]) {
        self.settle_rows(load).await;
        for Sent { device, accepted, .. } in load {
            // The fence follows the row; after an outage of Redis, up to a second later.
            let read = async || {
                let read: Value = self.get(device).await.unwrap().json().await.unwrap();
                (&read["version"], &read["payload"]["n"]) == (&json!(accepted), &json!(accepted))
            };
            self.until("what is read is the row", read).await;
        }
    }

    /// The same without reads.
    pub(crate) async fn settle_rows(&self, load: &[Sent]) {
        let total: usize = load.iter().map(|sent| sent.accepted).sum();
        assert!(total > 0, "nothing was sent");
        self.until("every accepted event is a row", async || self.rows().await == total).await;
        assert_eq!(self.count("SELECT count(*) FROM events WHERE outcome <> 'applied'").await, 0);
        for sent in load {
            let Sent { device, accepted, .. } = sent;
            let row = format!("SELECT version || ' ' || (payload->>'n') FROM resources WHERE id = '{device}'");
            assert_eq!(
                self.sql(&row).await,
                format!("{accepted} {accepted}"),
                "{device}: each event once, and the last one last"
            );
        }
        assert_eq!(self.dead_letters().await, 0, "no dead letter");
    }
}

pub(crate) struct Load {
    senders: Vec<JoinHandle<Sent>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub(crate) async fn end(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for sender in self.senders {
            all.push(sender.await.unwrap());
        }
        all
    }
}

pub(crate) struct Sent {
    pub(crate) device: String,
    pub(crate) accepted: usize,
    pub(crate) refused: BTreeMap<String, usize>,
}

pub(crate) fn refusals(load: &[Sent]) -> usize {
    load.iter().flat_map(|sent| sent.refused.values()).sum()
}
