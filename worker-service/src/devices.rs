//! Devices: their events become rows of `events` and the state of `resources`.

pub mod erase;
pub mod expire;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use clap::Command;
use futures_util::FutureExt as _;
use shared::devices::published::PUBLISHED;
use shared::devices::queries::{self, Outcome};
use shared::devices::{DeviceStream, Event, EventType, RESOURCE};
use shared::kafka::{Delivery, Envelope, Refusal, Setting, Stream as _};
use shared::runtime::config::duration_in;
use shared::runtime::json::Payload;
use shared::store::{Failure, Once, Tx};
use tokio::time::Instant;

use self::erase::EraseConfig;
use crate::consumer::event_lines::EventLines;
use crate::consumer::handler::{Applied, Handler, Processed, Retention};
use crate::consumer::registry::Registry;
use crate::event_lines;
use crate::source::HandlerSpec;

const RETENTIONS: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(100 * YEAR);
/// 365.25 days, as humantime reads `1year`.
const YEAR: u64 = 31_557_600;

/// Registers what the worker does for devices.
pub fn register(worker: &mut Registry) {
    worker
        .settings::<EventsConfig>()
        .handler(|given| Ok(Devices { events: given.settings.of()? }))
        .task(expire::TASK, |given| {
            let (store, since) = (given.store.clone(), Instant::now());
            let older_than = given.settings.of::<EventsConfig>()?.events_retention;
            Ok(move |stop| expire::run(store.clone(), older_than, since, stop))
        })
        .command::<EraseConfig>(
            Command::new("erase")
                .visible_alias("forget")
                .about("Erase a device: its events, its resource, its cache entry, and the effect of its records"),
        )
        .describe(expire::describe)
        .indexes(queries::INDEXES)
        .distributed(queries::DISTRIBUTED)
        .topics_made(|store, made| async move { Ok(queries::reset_ends(store, made).await?) }.boxed())
        .publishes(&PUBLISHED)
        .cached(&RESOURCE);
}

/// The events of devices.
#[derive(Debug, Clone, clap::Args)]
pub struct EventsConfig {
    /// How long an event is remembered. Must be longer than the retention of the topic: a record that is read again
    /// after its event was deleted is a new event. From 1m to 100years; short times are for trials only.
    #[arg(long, env, default_value = "30days", value_parser = duration_in(RETENTIONS))]
    pub events_retention: Duration,
}

/// Applies what devices report.
#[derive(Debug, Clone)]
pub struct Devices {
    /// How long events are kept.
    pub events: EventsConfig,
}

impl Handler for Devices {
    type Event = Event;
    type Prepared = ();

    const SPEC: HandlerSpec = HandlerSpec {
        name: "devices",
        group: Setting::new("KAFKA_GROUP", "kafka-group", "events-processor", "The consumer group"),
        stream: DeviceStream::SPEC,
        owner: true,
        types: DeviceStream::SPEC.types,
        once: Once::Journal(queries::JOURNAL),
    };
    const OUTCOMES: &'static [&'static str] = &Outcome::NAMES;
    const LINES: EventLines = event_lines!(device_id);
    const BEGIN: &'static str = queries::BEGIN;

    fn retention(&self) -> Option<Retention> {
        Some(Retention { setting: "EVENTS_RETENTION", period: self.events.events_retention })
    }

    fn decode(envelope: &Envelope) -> Result<Option<Event>, Refusal> {
        let event = Event::decode(envelope)?;
        Ok(match event.event_type {
            EventType::DeviceReported => Some(event),
        })
    }

    async fn apply(&self, tx: &mut Tx<'_>, batch: &[&Delivery<Event>], (): &()) -> Result<Applied, Failure> {
        let queries::Applied { events, fences } = queries::apply(tx, batch).await?;
        let processed = |it: queries::Processed| Processed {
            outcome: it.outcome.as_str(),
            reason: None,
            counts: it.outcome.counts(),
            version: it.version,
            fence: it.fence,
        };
        Ok(Applied { events: events.into_iter().map(processed).collect(), fences })
    }

    fn probe_event(nobody: Arc<str>, payload: Payload) -> (&'static str, Event) {
        Event::of_nobody(nobody, payload)
    }
}
