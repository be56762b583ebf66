//! The readers, and the task that watches the group's committed offsets.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{Client, DEVICES, count, lock};
use crate::history::{Commit, Read, brief};

impl Client {
    pub(super) async fn read(self, timeout: Duration, mut random: fastrand::Rng) {
        while !self.stopped() {
            let device = format!("device-{}", random.usize(..DEVICES));
            let url = format!("{}/resource/{device}", self.url(&mut random));
            let from = self.began.elapsed();
            let answered = answer(self.http.get(url).timeout(timeout).bearer_auth(&self.world.token)).await;
            if let Some((Body { version, event_id: event, payload }, bypass)) = answered {
                let read =
                    Read { device, from, to: self.began.elapsed(), version, event, payload: brief(payload), bypass };
                lock(&self.history).reads.push(read);
                count(&self.counts.reads, 1);
            }
            tokio::time::sleep(self.pause(&mut random, 5..30)).await;
        }
    }

    /// Records the group's committed offsets: an event before them has been fenced.
    pub(super) async fn watch_commits(self) {
        while !self.stopped() {
            let scope = self.world.scope.clone();
            let asked = tokio::task::spawn_blocking(move || {
                devstack::committed(&scope.endpoints.kafka_brokers, &scope.input_topic, &scope.group)
            });
            if let Ok(Ok(committed)) = asked.await {
                let at = self.began.elapsed();
                let offsets = committed.into_iter().map(|(partition, (offset, _))| (partition, offset)).collect();
                lock(&self.history).commits.push(Commit { at, offsets });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[derive(Deserialize)]
struct Body {
    version: i64,
    event_id: String,
    payload: Value,
}

/// The body, and whether the API bypassed the cache; `None` without a usable answer.
async fn answer(request: reqwest::RequestBuilder) -> Option<(Body, bool)> {
    let answer = request.send().await.ok()?;
    let source = answer.headers().get("cache-status").and_then(|value| value.to_str().ok());
    let bypass = source.is_some_and(|source| source.contains("fwd=bypass"));
    match answer.status().as_u16() {
        200 => Some((answer.json().await.ok()?, bypass)),
        404 => Some((Body { version: 0, event_id: String::new(), payload: Value::Null }, bypass)),
        _ => None,
    }
}
