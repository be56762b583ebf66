//! Validates videos when that is asked for, and keeps what events tell of campaigns, by which it judges them.
//!
//! A report is made before the transaction that ends its validation. It names its revision: what changes meanwhile makes
//! it stale, not wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use metrics::{counter, describe_counter};
use shared::kafka::{Cause, Delivery, Envelope, Refusal, Setting, Stream as _};
use shared::placements::queries::subscribers::{note_campaigns, snapshot};
use shared::placements::queries::validations::{Begun, Ended, Finished, begin_validations, finish_validations};
use shared::placements::received::{About, CampaignTold, DomainEvent};
use shared::placements::validate::validate;
use shared::placements::{DomainStream, PlacementEventType, ValidationId};
use shared::runtime::json::Payload;
use shared::store::outbox::doorbell::Doorbell;
use shared::store::{Failure, Once, Store, Tx, inbox};
use time::OffsetDateTime;

use super::{APPLIED, Noted, OUTCOMES, REPEATED, UNCHANGED, aside};
use crate::consumer::event_lines::EventLines;
use crate::consumer::handler::{Applied, Handler, Retention};
use crate::event_lines;
use crate::observe::panics;
use crate::source::HandlerSpec;

const NAME: &str = "validator";
/// Videos that are validated at once, each with its own query.
const CONCURRENCY: usize = 4;

pub fn describe() {
    describe_counter!("placement_validations_total", "Validations of videos that have ended, by status.");
    for status in ["succeeded", "failed"] {
        counter!("placement_validations_total", "status" => status).increment(0);
    }
    panics::begin_task(NAME);
}

/// Runs validations.
#[derive(Debug)]
pub struct Validator {
    store: Store,
    bell: Doorbell,
    retention: Duration,
}

/// What has an effect here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A validation was asked for.
    Validation(ValidationId),
    /// A campaign has changed; with the number of its event.
    Campaign(i64, CampaignTold),
}

impl Asked {
    fn validation(&self) -> Option<ValidationId> {
        match self {
            Self::Validation(id) => Some(*id),
            Self::Campaign(..) => None,
        }
    }
}

/// The outcome of an event that did not change anything.
const fn unless_new(new: bool) -> &'static str {
    if new { UNCHANGED } else { REPEATED }
}

impl Validator {
    pub fn new(store: Store, bell: Doorbell, retention: Duration) -> Self {
        Self { store, bell, retention }
    }

    /// Validates a video as it is now. That it is gone or that our code panics fails the validation, not the event: it
    /// would do so again.
    async fn run(&self, of: Begun) -> Result<Finished, Failure> {
        let ended = match snapshot(&self.store, of.video).await? {
            None => Ended::Failed("there is no such video any more".to_owned()),
            Some(snapshot) => match aside(move || validate(&snapshot)).await {
                Ok(report) => Ended::Report(report),
                Err(panicked) => {
                    panics::tell_of_task(NAME, &panicked);
                    Ended::Failed("the validation is defective".to_owned())
                }
            },
        };
        Ok(Finished { of, ended })
    }
}

impl Handler for Validator {
    type Event = Asked;
    type Prepared = BTreeMap<ValidationId, Finished>;

    const SPEC: HandlerSpec = HandlerSpec {
        name: NAME,
        group: Setting::new(
            "KAFKA_VALIDATOR_GROUP",
            "kafka-validator-group",
            "placement-validator",
            "The consumer group that validates videos",
        ),
        stream: DomainStream::SPEC,
        owner: false,
        types: &[
            PlacementEventType::ValidationRequested.as_str(),
            PlacementEventType::CampaignCreated.as_str(),
            PlacementEventType::CampaignUpdated.as_str(),
            PlacementEventType::CampaignEnded.as_str(),
        ],
        once: Once::Inbox { subscriber: NAME },
    };
    const OUTCOMES: &'static [&'static str] = &OUTCOMES;
    const LINES: EventLines = event_lines!(aggregate);
    /// A batch is prepared within two seconds, or it is tried again as it is: so it must be small.
    const BATCH: usize = 8;

    fn retention(&self) -> Option<Retention> {
        super::retention(self.retention)
    }

    fn decode(envelope: &Envelope) -> Result<Option<Asked>, Refusal> {
        let DomainEvent { event_type, sequence, about } = DomainEvent::decode(envelope)?;
        let is_asked = match event_type {
            PlacementEventType::ValidationRequested
            | PlacementEventType::CampaignCreated
            | PlacementEventType::CampaignUpdated
            | PlacementEventType::CampaignEnded => true,
            PlacementEventType::PlacementCreated
            | PlacementEventType::PlacementUpdated
            | PlacementEventType::PlacementDeleted
            | PlacementEventType::VideoCreated
            | PlacementEventType::VideoUpdated
            | PlacementEventType::ValidationCompleted
            | PlacementEventType::FilesGenerated => false,
        };
        Ok(match about {
            About::Validation(id, _) if is_asked => Some(Asked::Validation(id)),
            About::Campaign(told) if is_asked => Some(Asked::Campaign(sequence, told)),
            About::Video(_) | About::Validation(..) | About::Campaign(_) => None,
        })
    }

    /// A validation that has ended is not run again.
    async fn prepare(&self, batch: &[&Delivery<Asked>]) -> Result<Self::Prepared, Failure> {
        let mut asked: Vec<_> = batch.iter().filter_map(|delivery| delivery.event.validation()).collect();
        asked.sort_unstable();
        asked.dedup();
        if asked.is_empty() {
            return Ok(BTreeMap::new());
        }
        let begun = begin_validations(&self.store, &asked).await?;
        let finished = stream::iter(begun).map(|of| self.run(of)).buffer_unordered(CONCURRENCY);
        finished.map_ok(|finished| (finished.of.id, finished)).try_collect().await
    }

    async fn apply(
        &self,
        tx: &mut Tx<'_>,
        batch: &[&Delivery<Asked>],
        prepared: &Self::Prepared,
    ) -> Result<Applied, Failure> {
        let new = inbox::admit(tx, NAME, batch).await?;
        let (mut told, mut due, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for (delivery, new) in batch.iter().zip(&new) {
            match &delivery.event {
                Asked::Campaign(sequence, campaign) if *new => told.push((*sequence, campaign)),
                Asked::Campaign(..) => {}
                Asked::Validation(id) => {
                    asked.push(*id);
                    if let Some(finished) = prepared.get(id).filter(|_| *new) {
                        due.push((finished, Cause::of(&delivery.envelope)));
                    }
                }
            }
        }
        let is_newer = note_campaigns(tx, &told).await?;
        let mut versions = finish_validations(tx, &due, &asked, OffsetDateTime::now_utc()).await?;
        let (mut noted, mut is_newer) = (Noted::default(), is_newer.into_iter());
        for (delivery, new) in batch.iter().zip(new) {
            match &delivery.event {
                Asked::Campaign(..) => {
                    let is_newer = new && is_newer.next() == Some(true);
                    let outcome = if is_newer { APPLIED } else { unless_new(new) };
                    // An event that told nothing new is logged.
                    noted.add(outcome, is_newer || !new, None, None);
                }
                Asked::Validation(id) => {
                    let status = if new { versions.ended.remove(id) } else { None };
                    let outcome = if status.is_some() { APPLIED } else { unless_new(new) };
                    let fence = versions.all.get(id).map(|version| (id.cache_key(), *version));
                    noted.add(outcome, true, status, fence);
                }
            }
        }
        Ok(noted.done())
    }

    fn measure(&self, batch: &[&Delivery<Asked>], applied: &Applied) {
        let mut are_ended = false;
        for (_, processed) in batch.iter().zip(&applied.events) {
            if let Some(status) = processed.reason {
                counter!("placement_validations_total", "status" => status).increment(1);
                are_ended = true;
            }
        }
        if are_ended {
            self.bell.ring();
        }
    }

    fn probe_event(_: Arc<str>, _: Payload) -> (&'static str, Asked) {
        (PlacementEventType::ValidationRequested.as_str(), Asked::Validation(ValidationId::generate()))
    }
}
