//! An ad event: as a client submits it, and as a record contains it.

mod data;
mod submission;

use std::sync::Arc;

use time::macros::{date, format_description};
use time::{Date, OffsetDateTime};

pub use self::data::AdData;
pub use self::submission::AdSubmission;
use super::money::Nanos;
use super::{AdEventType, AdSubject, CampaignId, UserId};
use crate::kafka::ids::{EventId, Key, token};
use crate::kafka::{Delivery, Envelope, Outgoing, Refusal};
use crate::runtime::json::{BodyError, Fault, Payload, json};

/// The lease that pays for it.
const LEASE: &str = "grantid";
/// The campaign's day in which it was admitted.
const DAY: &str = "adday";
/// What it costs.
const COST: &str = "cost";
/// The extension attributes of its CloudEvent.
pub(super) const EXTENSIONS: &[&str] = &[LEASE, DAY, COST];

/// The longest id of a lease.
const MAX_LEASE: usize = 64;

/// An ad event that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdEvent {
    /// The campaign.
    pub campaign: CampaignId,
    /// The user.
    pub user: UserId,
    /// The event's type.
    pub event_type: AdEventType,
    /// The lease that pays for it; none if it costs nothing.
    pub lease: Option<String>,
    /// The campaign's day in which it was admitted.
    pub day: Date,
    /// What it costs.
    pub cost: Nanos,
    /// What the client said of it.
    pub data: AdData,
}

/// An ad event, with its envelope and its position in the log.
pub type AdDelivery = Delivery<AdEvent>;

impl AdEvent {
    /// Decodes an ad event from an envelope. The error is the first fault.
    pub fn decode(envelope: &Envelope) -> Result<Self, Refusal> {
        let event_type = envelope.type_as()?;
        let subject: AdSubject = envelope.keyed_subject_as()?;
        let day = attribute(DAY, required(envelope, DAY)?, parse_day)?;
        let cost = attribute(COST, required(envelope, COST)?, |text| Nanos::exact(text).map_err(|e| e.to_string()))?;
        let lease = envelope.extension(LEASE).map(|text| attribute(LEASE, text, parse_lease)).transpose()?;
        let data =
            json(&envelope.data).and_then(|data| AdData::of_record(data, &subject, event_type)).map_err(first)?;
        let AdSubject { campaign, user } = subject;
        Ok(Self { campaign, user, event_type, lease, day, cost, data })
    }

    /// A probe's event of a user that cannot exist, in a campaign that cannot exist, with its type.
    pub fn of_nobody(nobody: Arc<str>, _: Payload) -> (&'static str, Self) {
        let event = Self {
            campaign: CampaignId(0),
            user: UserId(nobody),
            event_type: AdEventType::Impression,
            lease: None,
            day: date!(2000 - 01 - 01),
            cost: Nanos::ZERO,
            data: AdData::default(),
        };
        (event.event_type.as_str(), event)
    }

    /// The campaign and the user.
    pub fn subject(&self) -> AdSubject {
        AdSubject { campaign: self.campaign, user: self.user.clone() }
    }

    /// The key of its record: its subject.
    pub fn key(&self) -> Key {
        self.subject().key()
    }

    /// Its record.
    pub fn outgoing(&self, id: EventId, accepted_at: OffsetDateTime, occurred_at: OffsetDateTime) -> Outgoing {
        let data = self.data.to_json(self.campaign, &self.user, self.event_type).into();
        let lease = self.lease.iter().map(|lease| (LEASE, lease.clone()));
        let envelope = Envelope {
            occurred_at,
            extensions: lease.chain([(DAY, day_text(self.day)), (COST, self.cost.to_string())]).collect(),
            ..Envelope::new(self.event_type.as_str(), self.key(), id, accepted_at, data)
        };
        Outgoing { envelope, source: format!("/campaigns/{}", self.campaign) }
    }
}

fn required<'a>(envelope: &'a Envelope, name: &str) -> Result<&'a str, Refusal> {
    envelope.extension(name).ok_or_else(|| Refusal::undecodable(format!("{name} is missing")))
}

fn attribute<T>(name: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Refusal> {
    parse(text).map_err(|error| Refusal::undecodable(format!("{name}: {error}")))
}

/// A day as text, such as `2026-11-30`.
fn day_text(day: Date) -> String {
    let (year, month, day) = day.to_calendar_date();
    format!("{year:04}-{:02}-{day:02}", u8::from(month))
}

fn parse_day(text: &str) -> Result<Date, String> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
    // `time` takes other spellings too, such as a sign before the year.
    day.filter(|day| (1..=9999).contains(&day.year()) && day_text(*day) == text)
        .ok_or_else(|| "must be a date such as 2026-11-30".to_owned())
}

fn parse_lease(text: &str) -> Result<String, String> {
    token(text, MAX_LEASE).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// The first fault. The faults of a record's data do not quote it.
fn first(error: BodyError) -> Refusal {
    Refusal::undecodable(match error {
        BodyError::NotJson(_) => "the data is not JSON".to_owned(),
        BodyError::NotAnEvent(faults) => faults.into_iter().next().map_or_else(String::new, |fault| {
            let Fault { pointer, detail } = fault;
            if pointer.is_empty() { format!("the data {detail}") } else { format!("{pointer} of the data {detail}") }
        }),
    })
}

#[cfg(test)]
mod tests;
