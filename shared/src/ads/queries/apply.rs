//! Applies a batch of ad events in one transaction: first the events, then, under the locks of their campaigns, the
//! money and the statistics.
//!
//! The outcome depends only on the order of the log within a campaign and user, never on the boundaries of batches.

mod read;
mod write;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use time::{Date, OffsetDateTime};

use self::read::{campaigns, facts, stored};
use self::write::{insert, write_books, write_rows};
use super::ledger::{Applied, Ledger, Outcome, Processed, Verdict};
use super::terms_row::campaign_id;
use crate::ads::AdDelivery;
use crate::runtime::sabotage::makes;
use crate::store::{Failure, Tx, column};

/// The first statements of a transaction that must not run concurrently with the erasure of a user. The tables of
/// campaigns are small and in memory: of their indexes PostgreSQL's default, which is for disks that turn, makes too
/// little use, and a batch of few events would read all campaigns.
pub const BEGIN: &str = "LOCK TABLE ad_forgotten_users IN ROW SHARE MODE; SET LOCAL random_page_cost = 1.1";

/// An event's identity.
type Id<'a> = (i64, &'a str);

fn id(delivery: &AdDelivery) -> Id<'_> {
    (delivery.event.campaign.get(), delivery.envelope.id.as_str())
}

/// An event as its row has it, or will have it.
struct Stored<'a> {
    user: Cow<'a, str>,
    type_name: Cow<'a, str>,
    day: Date,
    accepted_at: OffsetDateTime,
    /// Topic, partition and offset.
    position: (Cow<'a, str>, i32, i64),
    is_void: bool,
    /// Whether the row is of this transaction, and the verdict about it.
    new: Option<(&'a AdDelivery, Verdict)>,
}

/// Applies a batch, in the given order; of copies of an event, the first counts, unless it is void and a later one has
/// room. The transaction must begin with [`BEGIN`]. After a failure, nothing of the batch is applied; but if the
/// connection was lost during the commit, all of it may be. A repeat does no harm.
pub async fn apply(tx: &mut Tx<'_>, given: &[&AdDelivery]) -> Result<Applied, Failure> {
    #[cfg(feature = "sabotage")]
    let moved = super::sabotaged::with_days(tx, given).await?;
    #[cfg(feature = "sabotage")]
    let given: &[&AdDelivery] = &moved.iter().collect::<Vec<_>>();
    let none = Processed { outcome: Outcome::Forgotten, reason: None, billed: 0, version: None, fence: None };
    let mut outcome = Applied { events: vec![none; given.len()], fences: Vec::new() };
    let mut batch: Vec<(usize, &AdDelivery)> = given.iter().copied().enumerate().collect();
    let mut first = first_of_each(&batch);
    let (mut new, forgotten) = insert(tx, &first, &column!(given, |event| event.event.user.as_str())).await?;
    if !forgotten.is_empty() {
        // Before copies are removed: otherwise an old copy would hide a later one.
        batch.retain(|(_, event)| {
            let at = forgotten.get(event.event.user.as_str());
            !at.is_some_and(|at| event.envelope.accepted_at <= *at || event.position.appended_at <= *at)
        });
        if batch.is_empty() {
            return Ok(outcome);
        }
        first = first_of_each(&batch);
        (new, _) = insert(tx, &first, &[]).await?;
    }
    let known: Vec<Id<'_>> = first.iter().map(|event| id(event)).filter(|id| !new.contains_key(id)).collect();
    let mut stored = if known.is_empty() { HashMap::new() } else { stored(tx, &known).await? };

    let mut ledger = Ledger::default();
    campaigns(tx, &mut ledger, &batch).await?;
    let hours = facts(tx, &mut ledger, &batch, &stored).await?;
    let campaigns: Vec<i64> = ledger.campaigns.keys().copied().collect();

    for (at, delivery) in &batch {
        let key = id(delivery);
        let hour = hours.of(key.0, delivery.event.day, delivery.envelope.accepted_at);
        let outcome_of = match stored.get_mut(&key) {
            None => {
                let verdict = ledger.judge(delivery);
                ledger.book(delivery, verdict, hour);
                stored.insert(key, Stored::new(delivery, verdict));
                (verdict.outcome(), Some(verdict))
            }
            Some(known) if !known.is_same(delivery) => (Outcome::Conflicting, None),
            // A redelivery of the void event itself stays void; another copy may have found room.
            Some(known) if known.is_void && known.position != position(delivery) => match ledger.judge(delivery) {
                verdict @ Verdict::Counted { .. } => {
                    ledger.unvoid(key.0, known.day, hours.of(key.0, known.day, known.accepted_at));
                    ledger.book(delivery, verdict, hour);
                    stored.insert(key, Stored::new(delivery, verdict));
                    (Outcome::Counted, Some(verdict))
                }
                Verdict::Void(_) | Verdict::Invalid(_) => (Outcome::Repeated, None),
            },
            Some(_) => (Outcome::Repeated, None),
        };
        let (what, verdict) = outcome_of;
        if what == Outcome::Void && makes("raised-refusal") {
            return Err(Failure::failed("SQLSTATE 23514: no room"));
        }
        let billed = if what == Outcome::Counted { delivery.event.cost.get() } else { 0 };
        let version = ledger.campaigns.get(&key.0).map(|campaign| campaign.version);
        if let Some(event) = outcome.events.get_mut(*at) {
            let reason = verdict.and_then(Verdict::reason);
            let fence = campaigns.binary_search(&key.0).ok();
            *event = Processed { outcome: what, reason, billed, version, fence };
        }
    }
    for (campaign, state) in &ledger.campaigns {
        outcome.fences.push((campaign_id(*campaign)?.cache_key(), state.version));
    }

    write_rows(tx, &stored, &new).await?;
    write_books(tx, &ledger).await?;
    Ok(outcome)
}

/// The first copy of each event, sorted, so that two transactions insert in the same order.
fn first_of_each<'a>(batch: &[(usize, &'a AdDelivery)]) -> Vec<&'a AdDelivery> {
    let mut seen = HashSet::with_capacity(batch.len());
    let mut first: Vec<&AdDelivery> =
        batch.iter().map(|(_, event)| *event).filter(|event| seen.insert(id(event))).collect();
    first.sort_unstable_by_key(|event| id(event));
    first
}

fn position(delivery: &AdDelivery) -> (Cow<'_, str>, i32, i64) {
    let at = &delivery.position;
    (Cow::Borrowed(&at.topic), at.partition, at.offset)
}

impl<'a> Stored<'a> {
    fn new(delivery: &'a AdDelivery, verdict: Verdict) -> Self {
        let event = &delivery.event;
        Self {
            user: Cow::Borrowed(event.user.as_str()),
            type_name: Cow::Borrowed(event.event_type.name()),
            day: event.day,
            accepted_at: delivery.envelope.accepted_at,
            position: position(delivery),
            is_void: matches!(verdict, Verdict::Void(_)),
            new: Some((delivery, verdict)),
        }
    }

    fn is_same(&self, delivery: &AdDelivery) -> bool {
        self.user == delivery.event.user.as_str() && self.type_name == delivery.event.event_type.name()
    }
}

impl Verdict {
    fn outcome(self) -> Outcome {
        match self {
            Self::Counted { .. } => Outcome::Counted,
            Self::Void(_) => Outcome::Void,
            Self::Invalid(_) => Outcome::Invalid,
        }
    }

    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Counted { .. } => None,
            Self::Void(reason) | Self::Invalid(reason) => Some(reason),
        }
    }
}
