//! Another producer beside the API, which writes in transactions: one stays open for a while and is committed, one
//! stays open for a while and is aborted. The API's later records cannot be read until these end.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use devstack::kit::event;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, Producer as _};
use serde_json::json;

use super::{Injection, within};
use crate::history::{Place, Sent, TRANSACTIONS_DEVICE};
use crate::load::lock;

pub const TRANSACTION: usize = 6;
const DEVICES: usize = 3;
/// The deadline of one call with all its attempts: another fault may stop Kafka, and a busy machine restarts it
/// slowly.
const CALL_DEADLINE: Duration = Duration::from_secs(240);
/// The timeout of one attempt of a call.
const TRY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Committed,
    Aborted,
    /// The commit failed without a definite answer.
    Unknown,
}

/// A device's name and its event.
type Event = (String, Sent);

impl Injection<'_> {
    pub(super) fn transactions(&self) -> anyhow::Result<Option<String>> {
        let commits_first = self.step.choice.is_multiple_of(2);
        let mut committed = false;
        for commit in [commits_first, !commits_first] {
            committed |= self.transaction(commit)? == Outcome::Committed;
        }
        Ok((!committed).then(|| "no transaction was committed".to_owned()))
    }

    fn transaction(&self, commit: bool) -> anyhow::Result<Outcome> {
        let producer = self.producer()?;
        let events = self.events();
        let open_for = self.step.lasts / 2;
        let outcome = match write(&producer, &self.world.scope.input_topic, &events, open_for, commit) {
            Ok(outcome) => outcome,
            Err(_) => {
                // A new producer with the same transactional id ends the open transaction.
                drop(self.producer()?);
                if commit { Outcome::Unknown } else { Outcome::Aborted }
            }
        };
        self.note_transaction(events, outcome);
        Ok(outcome)
    }

    fn producer(&self) -> anyhow::Result<BaseProducer> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.world.scope.endpoints.kafka_brokers)
            .set("transactional.id", format!("{}-transactions", self.world.scope.group))
            // Longer than any fault keeps Kafka away.
            .set("transaction.timeout.ms", "300000");
        let ready = || {
            let producer: BaseProducer = config.create()?;
            producer.init_transactions(TRY)?;
            Ok(producer)
        };
        within(CALL_DEADLINE, ready).context("a transactional producer")
    }

    /// The next events of these devices. One producer writes at a time.
    fn events(&self) -> Vec<Event> {
        let history = lock(self.history);
        let at = self.began.elapsed();
        let mut posts: BTreeMap<String, usize> = BTreeMap::new();
        let event = |n: usize| {
            let device = format!("{TRANSACTIONS_DEVICE}{}", n % DEVICES);
            let post = *posts.entry(device.clone()).or_insert_with(|| {
                let sent = history.sent.get(&device).and_then(|sent| sent.last());
                sent.map_or(1, |last| last.first.post + 1)
            });
            // The device's count is not unique here: aborted events are not in it.
            let id = format!("{}-{n}", at.as_micros());
            let first = Place { post, index: n, at };
            (device, Sent { id, payload: json!({"n": n}), first, acknowledged: None, times: 1 })
        };
        (0..TRANSACTION).map(event).collect()
    }

    fn note_transaction(&self, events: Vec<Event>, outcome: Outcome) {
        let at = self.began.elapsed();
        let mut history = lock(self.history);
        for (device, mut sent) in events {
            if outcome == Outcome::Aborted {
                history.aborted.entry(device).or_default().insert(sent.id);
                continue;
            }
            sent.acknowledged = (outcome == Outcome::Committed).then_some(Place { at, ..sent.first });
            history.sent.entry(device).or_default().push(sent);
        }
    }
}

/// Writes one transaction. After an error its outcome is unknown.
fn write(
    producer: &BaseProducer,
    topic: &str,
    events: &[Event],
    open_for: Duration,
    commit: bool,
) -> KafkaResult<Outcome> {
    producer.begin_transaction()?;
    for (device, sent) in events {
        let event = event(device).id(&sent.id).payload(&sent.payload);
        producer.send(event.record(topic)).map_err(|(error, _)| error)?;
    }
    let are_there = producer.flush(CALL_DEADLINE).is_ok();
    sleep(open_for);
    if commit && are_there {
        match again(|| producer.commit_transaction(TRY)) {
            Ok(()) => return Ok(Outcome::Committed),
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {}
            Err(error) => return Err(error),
        }
    }
    again(|| producer.abort_transaction(TRY)).map(|()| Outcome::Aborted)
}

/// Repeats the call while the client calls its error retriable.
fn again(call: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
    let deadline = Instant::now() + CALL_DEADLINE;
    loop {
        match call() {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && !error.txn_requires_abort() && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(300));
            }
            done => return done,
        }
    }
}
