//! Advertising: ad events become rows of `ad_events`, money that is spent, and statistics.

pub mod erase;
pub mod expire;
pub mod settle;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Command;
use metrics::{counter, describe_counter};
use shared::ads::published::{OF_ADS, OF_CAMPAIGNS};
use shared::ads::queries::{self, Outcome};
use shared::ads::{AdDelivery, AdEvent, AdEventType, AdStream, REPORT};
use shared::kafka::{Envelope, Refusal, Setting, Stream as _};
use shared::runtime::config::duration_in;
use shared::runtime::json::Payload;
use shared::runtime::sabotage::makes;
use shared::store::{Failure, Once, Tx};
use tokio::time::Instant;

use self::erase::EraseUserConfig;
use crate::consumer::event_lines::EventLines;
use crate::consumer::handler::{Applied, Handler, Processed, Retention};
use crate::consumer::registry::Registry;
use crate::event_lines;
use crate::source::HandlerSpec;

const RETENTIONS: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(100 * YEAR);
/// 365.25 days, as humantime reads `1year`.
const YEAR: u64 = 31_557_600;
/// Nanos of a currency's unit.
const UNIT: u64 = 1_000_000_000;

/// Why an event is void.
const VOID: [&str; 2] = ["no_room", "capped"];
/// Why an event is invalid.
const INVALID: [&str; 5] = ["no_impression", "duplicate_click", "late_conversion", "user_rate", "user_agent"];

/// Registers what the worker does for advertising.
pub fn register(worker: &mut Registry) {
    worker
        .settings::<AdEventsConfig>()
        .handler(|given| Ok(Ads::new(given.settings.of()?)))
        .task(settle::TASK, |given| {
            let (store, fences) = (given.store.clone(), given.offset_fences(Ads::SPEC.name)?);
            Ok(move |stop| settle::run(store.clone(), fences.clone(), stop))
        })
        .task(expire::TASK, |given| {
            let (store, since) = (given.store.clone(), Instant::now());
            let older_than = given.settings.of::<AdEventsConfig>()?.ads_events_retention;
            Ok(move |stop| expire::run(store.clone(), older_than, since, stop))
        })
        .command::<EraseUserConfig>(
            Command::new("erase-user")
                .about("Erase a user of advertising: its ad events, and the effect of its records; sums stay"),
        )
        .describe(describe)
        .describe(settle::describe)
        .describe(expire::describe)
        .publishes(&OF_CAMPAIGNS)
        .publishes(&OF_ADS)
        .cached(&REPORT);
}

fn describe() {
    describe_counter!("ads_spend_total", "Currency units that were billed, of all campaigns and currencies.");
    describe_counter!("ads_void_total", "Ad events that found no room in their budgets, or were over the cap.");
    describe_counter!("ads_invalid_total", "Ad events that a rule of their campaign refused.");
    counter!("ads_spend_total").increment(0);
    for reason in VOID {
        counter!("ads_void_total", "reason" => reason).increment(0);
    }
    for reason in INVALID {
        counter!("ads_invalid_total", "reason" => reason).increment(0);
    }
}

/// The ad events.
#[derive(Debug, Clone, clap::Args)]
pub struct AdEventsConfig {
    /// How long an ad event is remembered. Must be longer than the retention of its topic: a record that is read again
    /// after its event was deleted is a new event. From 1m to 100years; short times are for trials only.
    #[arg(long, env, default_value = "30days", value_parser = duration_in(RETENTIONS))]
    pub ads_events_retention: Duration,
}

/// Applies ad events: bills them, or says why not.
#[derive(Debug)]
pub struct Ads {
    events: AdEventsConfig,
    /// The nanos that were billed, for the metric, which counts whole units.
    billed: AtomicU64,
}

impl Ads {
    pub fn new(events: AdEventsConfig) -> Self {
        Self { events, billed: AtomicU64::new(0) }
    }

    /// Adds to the nanos that were billed; returns how many units are complete by that.
    fn bill(&self, nanos: u64) -> u64 {
        let before = self.billed.fetch_add(nanos, Ordering::Relaxed);
        (before.wrapping_add(nanos) / UNIT).saturating_sub(before / UNIT)
    }
}

impl Handler for Ads {
    type Event = AdEvent;
    type Prepared = ();

    const SPEC: HandlerSpec = HandlerSpec {
        name: "ads",
        group: Setting::new("KAFKA_ADS_GROUP", "kafka-ads-group", "ads-processor", "The consumer group of ad events"),
        stream: AdStream::SPEC,
        owner: true,
        types: AdStream::SPEC.types,
        once: Once::Journal(queries::JOURNAL),
    };
    const OUTCOMES: &'static [&'static str] = &Outcome::NAMES;
    const LINES: EventLines = event_lines!(campaign_user);
    const BEGIN: &'static str = queries::BEGIN;

    fn retention(&self) -> Option<Retention> {
        Some(Retention { setting: "ADS_EVENTS_RETENTION", period: self.events.ads_events_retention })
    }

    fn decode(envelope: &Envelope) -> Result<Option<AdEvent>, Refusal> {
        let event = AdEvent::decode(envelope)?;
        Ok(match event.event_type {
            AdEventType::Impression | AdEventType::Click | AdEventType::Conversion => Some(event),
        })
    }

    async fn apply(&self, tx: &mut Tx<'_>, batch: &[&AdDelivery], (): &()) -> Result<Applied, Failure> {
        let queries::Applied { mut events, mut fences } = queries::apply(tx, batch).await?;
        if makes("no-report-fence") {
            fences.clear();
            events.iter_mut().for_each(|event| event.fence = None);
        }
        let processed = |it: queries::Processed| Processed {
            outcome: it.outcome.as_str(),
            reason: it.reason,
            counts: it.outcome.counts(),
            version: it.version,
            fence: it.fence,
        };
        Ok(Applied { events: events.into_iter().map(processed).collect(), fences })
    }

    fn measure(&self, batch: &[&AdDelivery], applied: &Applied) {
        let mut billed = 0;
        for (delivery, processed) in batch.iter().zip(&applied.events) {
            if processed.outcome == Outcome::Counted.as_str() {
                billed += u64::try_from(delivery.event.cost.get()).unwrap_or_default();
            }
            let Some(reason) = processed.reason else { continue };
            if processed.outcome == Outcome::Void.as_str() {
                counter!("ads_void_total", "reason" => reason).increment(1);
            } else {
                counter!("ads_invalid_total", "reason" => reason).increment(1);
            }
        }
        counter!("ads_spend_total").increment(self.bill(billed));
    }

    fn probe_event(nobody: Arc<str>, payload: Payload) -> (&'static str, AdEvent) {
        AdEvent::of_nobody(nobody, payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_of_spending_loses_no_fraction() {
        let ads = Ads::new(AdEventsConfig { ads_events_retention: Duration::MAX });
        let units: u64 = (0..1_000).map(|_| ads.bill(10_000_000)).sum();
        assert_eq!(units, 10);
        assert_eq!([UNIT * 3 - 1, 1, 0].map(|nanos| ads.bill(nanos)), [2, 1, 0]);
    }
}
