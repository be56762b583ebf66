//! How far behind each partition is: measured every few seconds, for Prometheus, and for CloudWatch
//! where that is asked for. Whoever asks Kafka so often is the first to learn that it is away.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use time::OffsetDateTime;

use crate::config::EmfConfig;
use crate::emf::Emitter;
use crate::health::{Health, LaneState};
use crate::poll::Group;

/// How often it is measured.
const EVERY: Duration = Duration::from_secs(5);
/// How long Kafka may take to say where a partition ends.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many times in a row Kafka has to stay silent to be away: once is a broker that starts anew.
const SILENCES: u32 = 2;

/// A partition of ours, as it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Records without their effect; none where Kafka did not say where the partition ends.
    pub lag: Option<u64>,
    /// How long the first of them has been in the log, in seconds; 0 where there is none.
    pub watermark_age: f64,
    /// Whether it waits out an outage.
    pub waits: bool,
    /// Whether it waits for an operator.
    pub paused: bool,
}

/// Measures until the consumer is gone; before there is one, there is no partition.
pub async fn run(consumer: Arc<OnceLock<Weak<BaseConsumer<Group>>>>, topic: String, health: Health, emf: EmfConfig) {
    let mut emitter = Emitter::new(&emf, OffsetDateTime::now_utc());
    let mut stuck = Stuck::default();
    let mut gone = Vec::new();
    let mut silences = 0;
    let every = EVERY.min(emf.interval);
    loop {
        tokio::time::sleep(every).await;
        let lanes = health.lanes();
        let ends = match consumer.get().map(Weak::upgrade) {
            None => BTreeMap::new(),
            Some(None) => return,
            Some(Some(consumer)) => {
                let asked = ask(consumer, topic.clone(), lanes.keys().copied().collect());
                let Told { ends, partitions, silent } = asked.await;
                if let Some(partitions) = partitions {
                    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                    metrics::gauge!("topic_partitions").set(partitions as f64);
                }
                silences = if silent.is_some() { silences + 1 } else { 0 };
                if silent.is_none() || silences >= SILENCES {
                    health.kafka_is_away(silent);
                }
                ends
            }
        };
        let now = OffsetDateTime::now_utc();
        let measured = measure(&lanes, &ends, now, &mut stuck);
        show(&measured, &mut gone);
        let waits = health.waits();
        metrics::gauge!("worker_waiting").set(flag(waits || measured.values().any(|found| found.waits)));
        if let Some(emitter) = &mut emitter
            && emitter.is_due(now)
        {
            shared::telemetry::log_metrics(&emitter.document(&measured, waits, now));
        }
    }
}

/// What Kafka tells.
#[derive(Default)]
struct Told {
    /// The first and the next offset of each partition of ours, as far as Kafka says.
    ends: BTreeMap<i32, (i64, i64)>,
    /// How many partitions the topic has, where Kafka says.
    partitions: Option<usize>,
    /// Why it does not tell all of it.
    silent: Option<String>,
}

/// Asks Kafka, also where nothing is ours: a worker that lost its partitions has to know why.
async fn ask(consumer: Arc<BaseConsumer<Group>>, topic: String, ours: Vec<i32>) -> Told {
    let asked = tokio::task::spawn_blocking(move || {
        let mut told = Told::default();
        match consumer.fetch_metadata(Some(&topic), PATIENCE) {
            // A topic that is not there is no outage; the polling thread says what to do.
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
                told.partitions = found.map(|topic| topic.partitions().len());
            }
            Err(error) => {
                told.silent = Some(format!("Kafka does not answer: {error}"));
                return told;
            }
        }
        for partition in ours {
            match consumer.fetch_watermarks(&topic, partition, PATIENCE) {
                Ok(found) => {
                    told.ends.insert(partition, found);
                }
                Err(error) => {
                    tracing::debug!(partition, %error, "the partition's end is not told");
                    // The others would take as long, and say the same.
                    told.silent = Some(format!("Kafka does not say where partition {partition} ends: {error}"));
                    break;
                }
            }
        }
        told
    });
    asked.await.unwrap_or_default()
}

fn measure(
    lanes: &BTreeMap<i32, LaneState>,
    ends: &BTreeMap<i32, (i64, i64)>,
    now: OffsetDateTime,
    stuck: &mut Stuck,
) -> BTreeMap<i32, Measured> {
    stuck.0.retain(|partition, _| lanes.contains_key(partition));
    let of_one = |(&partition, lane): (&i32, &LaneState)| {
        let lag = ends.get(&partition).map(|&(first, next)| {
            let at = lane.watermark.or(lane.begun_at).unwrap_or(first).max(first);
            u64::try_from(next - at).unwrap_or(0)
        });
        let in_hand = lane.waiting_since.map_or(0.0, |since| (now - since).as_seconds_f64());
        let unseen = stuck.since(partition, lane.watermark, lag);
        let measured = Measured {
            lag,
            watermark_age: in_hand.max(unseen.as_secs_f64()),
            waits: lane.outage.is_some(),
            paused: lane.paused,
        };
        (partition, measured)
    };
    lanes.iter().map(of_one).collect()
}

/// Since when a partition has records and does not get on. A record that has not come in yet has not
/// told its time: this stands in for it.
#[derive(Debug, Default)]
struct Stuck(BTreeMap<i32, (Option<i64>, Instant)>);

impl Stuck {
    fn since(&mut self, partition: i32, watermark: Option<i64>, lag: Option<u64>) -> Duration {
        if lag == Some(0) {
            self.0.remove(&partition);
            return Duration::ZERO;
        }
        let (at, since) = self.0.entry(partition).or_insert_with(|| (watermark, Instant::now()));
        if *at != watermark {
            (*at, *since) = (watermark, Instant::now());
        }
        since.elapsed()
    }
}

/// Prometheus' gauges; those of a partition that is no longer ours fall to 0, its new owner has them.
fn show(measured: &BTreeMap<i32, Measured>, shown: &mut Vec<i32>) {
    let nothing = Measured { lag: Some(0), watermark_age: 0.0, waits: false, paused: false };
    let gone =
        shown.iter().filter(|partition| !measured.contains_key(partition)).map(|partition| (partition, &nothing));
    for (partition, found) in measured.iter().chain(gone) {
        let partition = partition.to_string();
        if let Some(lag) = found.lag {
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!("consumer_lag_records", "partition" => partition.clone()).set(lag as f64);
        }
        metrics::gauge!("watermark_age_seconds", "partition" => partition.clone()).set(found.watermark_age);
        metrics::gauge!("partition_waiting", "partition" => partition.clone()).set(flag(found.waits));
        metrics::gauge!("partition_paused", "partition" => partition).set(flag(found.paused));
    }
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!("assigned_partitions").set(measured.len() as f64);
    *shown = measured.keys().copied().collect();
}

fn flag(set: bool) -> f64 {
    if set { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(watermark: Option<i64>, begun_at: Option<i64>) -> LaneState {
        LaneState { watermark, begun_at, ..LaneState::default() }
    }

    #[test]
    fn what_is_behind_the_watermark_has_its_effect() {
        let now = time::macros::datetime!(2026-01-02 03:04:05 UTC);
        let since = Some(now - time::Duration::seconds(7));
        let lanes = BTreeMap::from([
            (0, LaneState { waiting_since: since, ..lane(Some(10), Some(2)) }),
            (1, lane(None, Some(2))),
            (2, lane(None, None)),
            (3, lane(Some(4), None)),
            (4, lane(Some(20), None)),
        ]);
        // Of the partitions 1 and 2 the broker has dropped the first three; of 3 it says nothing.
        let ends = BTreeMap::from([(0, (0, 15)), (1, (3, 15)), (2, (3, 15)), (4, (0, 20))]);
        let found = measure(&lanes, &ends, now, &mut Stuck::default());
        let lags: Vec<_> = found.values().map(|found| found.lag).collect();
        assert_eq!(lags, [Some(5), Some(12), Some(12), None, Some(0)]);
        assert_eq!(found[&0].watermark_age, 7.0);
        assert_eq!(found[&4].watermark_age, 0.0);
    }

    #[test]
    fn a_partition_that_does_not_get_on_ages_without_having_seen_its_records() {
        let mut stuck = Stuck::default();
        assert!(stuck.since(0, None, Some(5)) < Duration::from_secs(1));
        stuck.0.get_mut(&0).unwrap().1 -= Duration::from_secs(60);
        assert!(stuck.since(0, None, Some(6)) >= Duration::from_secs(60));
        assert!(stuck.since(0, Some(1), Some(6)) < Duration::from_secs(1), "it got on");
        assert_eq!(stuck.since(0, Some(1), Some(0)), Duration::ZERO);
    }
}
