//! Sends events to Kafka and waits for the acknowledgement of all in-sync replicas.
//!
//! It has two clients of librdkafka. One batches. The other sends each record by itself: records that may not fit into
//! a batch, and those of a refused batch; it is started on first use.

mod config;
mod counters;
mod gather;
mod limit;
mod plan;
mod reports;
mod sender;
mod settings;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::HashSet;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram};
use rdkafka::ClientConfig;
use shared::kafka::{KafkaConfig, Outgoing};
use tokio::time::{Instant, timeout_at};

pub use self::config::ProducerConfig;
use self::counters::Counters;
use self::gather::LONGEST;
use self::limit::{BatchLimit, record_bytes};
use self::plan::{Batches, Step, plan};
use self::reports::{Batch, Report};
use self::sender::{Batching, Client, Sender};
pub use self::settings::settings;
use self::verdict::{Verdict, judged, refused, to_send_again};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All in-sync replicas have the event.
    Accepted { partition: i32, offset: i64 },
    /// Not accepted: the queue is full, the producer has just failed, or the outcome of an earlier event of the same
    /// key is unknown.
    QueueFull,
    /// Not accepted: Kafka has no such topic.
    NoTopic,
    /// Not accepted: the service is shutting down.
    Closed,
    /// Not accepted, and it never will be.
    TooLarge,
    /// Handed to Kafka, but not acknowledged in time.
    Unknown,
}

impl Outcome {
    const ALL: [Self; 6] = [
        Self::Accepted { partition: 0, offset: 0 },
        Self::QueueFull,
        Self::NoTopic,
        Self::Closed,
        Self::TooLarge,
        Self::Unknown,
    ];

    /// The name in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::QueueFull => "queue_full",
            Self::NoTopic => "no_topic",
            Self::Closed => "closed",
            Self::TooLarge => "too_large",
            Self::Unknown => "unknown",
        }
    }
}

/// The client that sends an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Batched,
    Alone,
}

impl Way {
    const fn of(fits: bool) -> Self {
        if fits { Self::Batched } else { Self::Alone }
    }
}

/// A verdict for each event that was not handed over, and the reports of the others.
type HandedOver = (Vec<Option<Verdict>>, Arc<Batch>);

/// The producer of one topic. Clones share the clients.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

struct Inner {
    batched: Arc<Sender>,
    alone: OnceLock<Arc<Sender>>,
    starting: Mutex<()>,
    alone_settings: ClientConfig,
    limit: Arc<BatchLimit>,
    topic: String,
    counters: OnceLock<Counters>,
    message_timeout: Duration,
    closed: AtomicBool,
}

impl Producer {
    /// A producer to this topic; it connects and reconnects by itself.
    pub fn new(kafka: &KafkaConfig, config: &ProducerConfig, topic: &str) -> anyhow::Result<Self> {
        let limit = Arc::new(BatchLimit::unknown());
        let batching = Batching::UpTo(Arc::clone(&limit), shared::kafka::client(kafka)?);
        let message_timeout = config.message_timeout;
        Ok(Self(Arc::new(Inner {
            batched: Sender::start(settings(kafka, config)?, batching, topic, message_timeout)?,
            alone: OnceLock::new(),
            starting: Mutex::new(()),
            alone_settings: settings::unbatched(kafka, config)?,
            limit,
            topic: topic.to_owned(),
            counters: OnceLock::new(),
            message_timeout,
            closed: AtomicBool::new(false),
        })))
    }

    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// The counters of the topic. To be called after metrics have started.
    pub(crate) fn counters(&self) -> &Counters {
        self.0.counters.get_or_init(|| Counters::of(&self.0.topic))
    }

    /// Applies the topic's `max.message.bytes`, as Kafka returned it.
    pub(crate) fn learn(&self, max_message_bytes: usize) {
        self.0.limit.learn(max_message_bytes);
        self.0.batched.replace();
    }

    /// The limit of a batch; `None` until Kafka has returned the topic's settings.
    pub fn batch_limit(&self) -> Option<usize> {
        let limit = &self.0.limit;
        limit.is_known().then(|| limit.bytes())
    }

    /// Sends an event, and waits for its outcome until the deadline.
    pub async fn send(&self, event: &Outgoing, deadline: Instant) -> Outcome {
        let start = Instant::now();
        let outcome = self.settle_one(event, deadline).await;
        self.counters().count(&[outcome]);
        DURATION.record(start.elapsed());
        outcome
    }

    /// Sends events in order, and waits for the outcomes of all. If the queue is full at one event, no later event is
    /// accepted; if the outcome of an event is unknown, no later event of its key is: a key's later event must
    /// not overtake an earlier one.
    pub async fn send_all(&self, events: &[Outgoing], deadline: Instant) -> Vec<Outcome> {
        let start = Instant::now();
        let outcomes = self.settle_all(events, deadline).await;
        self.counters().count(&outcomes);
        DURATION.record(start.elapsed());
        outcomes
    }

    /// One event needs no stages: none of its key is before it.
    async fn settle_one(&self, event: &Outgoing, deadline: Instant) -> Outcome {
        if self.0.closed.load(Ordering::Relaxed) {
            return Outcome::Closed;
        }
        let way = Way::of(record_bytes(event) <= self.0.limit.bytes());
        let all = [(event, way)];
        let handed_over = if way == Way::Batched && self.0.batched.gathers() {
            let batch = Batch::gathered();
            if let Some(wave) = self.0.batched.gather(event, &batch) {
                // The others of the wave rest on this, also if this request is given up.
                let _ = timeout_at(deadline.min(Instant::now() + LONGEST), batch.settled()).await;
                drop(wave);
            }
            (vec![None], batch)
        } else {
            self.hand_over_all(&self.0.batched.client(), &all)
        };
        let outcome = self.settle_stage(&all, handed_over, deadline).await.pop();
        outcome.unwrap_or(Outcome::Unknown)
    }

    async fn settle_all(&self, events: &[Outgoing], deadline: Instant) -> Vec<Outcome> {
        if self.0.closed.load(Ordering::Relaxed) {
            return vec![Outcome::Closed; events.len()];
        }
        let mut outcomes = vec![Outcome::QueueFull; events.len()];
        let mut held_back = HashSet::new();
        let (mut planned_for, mut steps) = (Weak::new(), Vec::new());
        let (mut stage, mut last) = (0, 0);
        while stage <= last {
            let (places, all, handed_over) = {
                // A decision about a client applies to this client only, so hold it: it may be replaced meanwhile.
                let client = self.0.batched.client();
                if stage == 0 {
                    steps = self.plan(&client, events);
                    planned_for = Arc::downgrade(&client);
                    last = steps.iter().map(|step| step.stage).max().unwrap_or(0);
                } else if Instant::now() >= deadline {
                    break;
                }
                let is_same = stage == 0 || ptr::eq(planned_for.as_ptr(), Arc::as_ptr(&client)) && !client.has_failed();
                let mut places = Vec::with_capacity(events.len());
                let mut all = Vec::with_capacity(events.len());
                for (place, (event, step)) in events.iter().zip(&steps).enumerate() {
                    if step.stage == stage && !held_back.contains(&event.envelope.key) {
                        places.push(place);
                        all.push((event, if is_same { step.way } else { Way::Alone }));
                    }
                }
                let handed_over = self.hand_over_all(&client, &all);
                (places, all, handed_over)
            };
            let settled = self.settle_stage(&all, handed_over, deadline).await;
            let mut stopped = None;
            for ((place, (event, _)), outcome) in places.iter().zip(&all).zip(settled) {
                match outcome {
                    Outcome::Accepted { .. } | Outcome::TooLarge => {}
                    Outcome::Unknown => drop(held_back.insert(&event.envelope.key)),
                    Outcome::QueueFull | Outcome::NoTopic | Outcome::Closed => stopped = Some(outcome),
                }
                if let Some(of_event) = outcomes.get_mut(*place) {
                    *of_event = outcome;
                }
            }
            if let Some(outcome) = stopped {
                for (of_event, _) in outcomes.iter_mut().zip(&steps).filter(|(_, step)| step.stage > stage) {
                    *of_event = outcome;
                }
                break;
            }
            stage += 1;
        }
        outcomes
    }

    /// The outcomes of these events; those with the verdict `SendAlone` are sent one by one.
    async fn settle_stage(
        &self,
        events: &[(&Outgoing, Way)],
        handed_over: HandedOver,
        deadline: Instant,
    ) -> Vec<Outcome> {
        let mut verdicts = self.judge_all(handed_over, events, deadline).await;
        let again = to_send_again(events, &verdicts);
        if !again.is_empty() {
            RESENT.increment(again.len() as u64);
            let all: Vec<_> = again.iter().map(|(_, event)| (*event, Way::Alone)).collect();
            let handed_over = self.hand_over_all(&self.0.batched.client(), &all);
            let second = self.judge_all(handed_over, &all, deadline).await;
            for ((place, _), verdict) in again.iter().zip(second) {
                if let Some(first) = verdicts.get_mut(*place) {
                    *first = verdict.of_second_attempt();
                }
            }
        }
        verdicts.into_iter().map(Verdict::outcome).collect()
    }

    /// Plans which client sends each event of a request, and in which stage.
    fn plan(&self, client: &Client, events: &[Outgoing]) -> Vec<Step> {
        let limit = &self.0.limit;
        // Read first: the limit may become known, and smaller, in between.
        let is_known = limit.is_known();
        let batches = match (is_known, client.keeps_to(limit)) {
            (true, true) => Batches::Fit,
            (false, true) => Batches::MayFit,
            (_, false) => Batches::TooLarge,
        };
        let most = limit.bytes();
        plan(events, |event| record_bytes(event) <= most, batches)
    }

    /// Waits once for the reports of all events that were handed over.
    async fn judge_all(&self, handed_over: HandedOver, events: &[(&Outgoing, Way)], deadline: Instant) -> Vec<Verdict> {
        let (not_handed_over, batch) = handed_over;
        // Without a report at the deadline, an outcome is unknown.
        let _ = timeout_at(deadline, batch.settled()).await;
        let verdict = |early: Option<Verdict>, report: Option<Report>, way| match (early, report, self.sender(way)) {
            (Some(verdict), ..) => verdict,
            (None, Some(Err(error)), Some(sender)) if batch.was_refused() => refused(sender, way, &error),
            (None, Some(report), Some(sender)) => judged(sender, way, &report),
            (None, ..) => Verdict::Final(Outcome::Unknown),
        };
        let all = not_handed_over.into_iter().zip(batch.reports()).zip(events);
        all.map(|((early, report), (_, way))| verdict(early, report, *way)).collect()
    }

    /// Hands over events in order, as far as possible; batched ones to this client.
    fn hand_over_all(&self, batched: &Client, events: &[(&Outgoing, Way)]) -> HandedOver {
        let wants_alone = events.iter().any(|(_, way)| *way == Way::Alone);
        let alone = wants_alone.then(|| self.sender(Way::Alone)).flatten().map(|sender| (sender, sender.client()));
        let mut stopped = None;
        let mut batched_stopped = false;
        let batch = Batch::new(events.len());
        let mut early = Vec::with_capacity(events.len());
        for (index, (event, way)) in events.iter().enumerate() {
            let client: Option<(_, &Client)> = match way {
                Way::Batched => Some((&self.0.batched, batched)),
                Way::Alone => alone.as_ref().map(|(sender, client)| (*sender, &***client)),
            };
            let verdict = match (stopped, client) {
                (Some(outcome), _) => Verdict::Final(outcome),
                (None, None) => Verdict::Final(Outcome::QueueFull),
                (None, Some(_)) if *way == Way::Batched && batched_stopped => Verdict::SendAlone,
                (None, Some((sender, client))) => match sender.hand_over(client, event, batch.waiting(index)) {
                    Ok(()) => {
                        early.push(None);
                        continue;
                    }
                    Err(error) => refused(sender, *way, &error),
                },
            };
            match verdict {
                // A record that is too large never fits this topic: the events behind it are not held back.
                Verdict::Final(Outcome::TooLarge) => {}
                Verdict::Final(outcome) => stopped = Some(outcome),
                Verdict::SendAlone => batched_stopped = true,
            }
            early.push(Some(verdict));
            batch.skip();
        }
        (early, batch)
    }

    fn sender(&self, way: Way) -> Option<&Arc<Sender>> {
        let inner = &self.0;
        match way {
            Way::Batched => Some(&inner.batched),
            Way::Alone => inner.alone.get().or_else(|| {
                let _one_at_a_time = inner.starting.lock().unwrap_or_else(PoisonError::into_inner);
                if inner.alone.get().is_none() {
                    let settings = inner.alone_settings.clone();
                    match Sender::start(settings, Batching::Off, &inner.topic, inner.message_timeout) {
                        Ok(sender) => drop(inner.alone.set(sender)),
                        Err(error) => tracing::error!(error = format!("{error:#}"), "cannot create another producer"),
                    }
                }
                inner.alone.get()
            }),
        }
    }

    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// Waits until every event that was handed over has its report.
    pub async fn flush(&self) {
        self.0.batched.flush().await;
        if let Some(alone) = self.0.alone.get() {
            alone.flush().await;
        }
    }
}

/// Describes the metrics of this module. The counters that have alerts start at 0.
pub fn describe() {
    describe_counter!("kafka_produce_total", "Events handed to Kafka, by topic and outcome.");
    describe_histogram!(
        "kafka_produce_duration_seconds",
        "Time until all in-sync replicas have acknowledged an event or a batch."
    );
    describe_counter!(
        "kafka_produce_resent_total",
        "Events sent again automatically, because a batch was larger than the topic accepts."
    );
    describe_counter!("kafka_producer_rebuilt_total", "Producers replaced after a fatal error.");
    describe_gauge!("kafka_queue_records", "Events that wait for Kafka's acknowledgement.");
    describe_gauge!("kafka_queue_bytes", "Bytes of the events that wait for Kafka's acknowledgement.");
    describe_gauge!("kafka_queue_limit_bytes", "The limit of these bytes, KAFKA_QUEUE_BYTES.");
    for name in ["kafka_produce_resent_total", "kafka_producer_rebuilt_total"] {
        counter!(name).increment(0);
    }
}

/// Looked up once: finding a series costs more than counting.
static RESENT: LazyLock<Counter> = LazyLock::new(|| metrics::counter!("kafka_produce_resent_total"));
static DURATION: LazyLock<Histogram> = LazyLock::new(|| metrics::histogram!("kafka_produce_duration_seconds"));
