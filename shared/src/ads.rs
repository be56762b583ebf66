//! Advertising: campaigns and their money, and the events that they pay for. The rules do no I/O; [`queries`] has the
//! SQL.

pub mod campaign;
pub mod caps;
pub mod event;
pub mod money;
pub mod patch;
pub mod published;
pub mod queries;

use std::fmt;
use std::str::FromStr;

use futures_util::FutureExt as _;
use serde_json::value::RawValue;

pub use self::campaign::{CapUnsure, OnExhausted, Pacing, PricingModel, Rules, Status, Terms};
pub use self::event::{AdData, AdDelivery, AdEvent, AdSubmission};
pub use self::money::{MoneyError, Nanos};
pub use self::patch::Patch;
use crate::cache::{CacheKey, Kind};
use crate::kafka::ids::{Key, id, subject};
use crate::kafka::{Setting, Stream, StreamSpec, TopicsOf, event_types};
use crate::runtime::json::text;

id!(
    /// The id of a user who sees advertisements. It is spelt like a device's id: 1 to 128 printable ASCII characters, no
    /// blank at either end, and no segment `.` or `..` between slashes.
    pub UserId,
    128,
    subject
);

/// The id of a campaign: a whole number, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CampaignId(i64);

/// A text or a number is not the id of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to {max}, without leading zeros", max = i64::MAX)]
pub struct CampaignIdError;

impl CampaignId {
    /// The id as a number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Parses an id from a JSON number or a string of digits.
    pub fn from_json(raw: &RawValue) -> Result<Self, String> {
        let is_text = raw.get().starts_with('"');
        let id = if is_text { text(raw)?.parse() } else { raw.get().parse() };
        id.map_err(|error: CampaignIdError| error.to_string())
    }

    /// The cache key of its report.
    pub fn cache_key(self) -> CacheKey {
        CacheKey::new(&REPORT, self.to_string().into())
    }
}

impl TryFrom<i64> for CampaignId {
    type Error = CampaignIdError;

    fn try_from(id: i64) -> Result<Self, CampaignIdError> {
        if id > 0 { Ok(Self(id)) } else { Err(CampaignIdError) }
    }
}

/// Each id has one spelling, because keys contain it.
impl FromStr for CampaignId {
    type Err = CampaignIdError;

    fn from_str(text: &str) -> Result<Self, CampaignIdError> {
        if !text.starts_with(|first| matches!(first, '1'..='9')) {
            return Err(CampaignIdError);
        }
        text.parse().map(Self).map_err(|_| CampaignIdError)
    }
}

impl fmt::Display for CampaignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an ad event is about: a campaign and a user. As text `campaign:user`, CloudEvents `subject`, which is the
/// record's key too, so that a click is applied after its impression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdSubject {
    /// The campaign.
    pub campaign: CampaignId,
    /// The user.
    pub user: UserId,
}

impl AdSubject {
    /// The key of its records.
    pub fn key(&self) -> Key {
        Key::from(self.to_string())
    }
}

impl FromStr for AdSubject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':');
        let (campaign, user) = parts.ok_or("must be the id of a campaign, a colon, and the id of a user")?;
        let campaign = campaign.parse().map_err(|error| format!("the campaign's id, before the colon, {error}"))?;
        let user = user.parse().map_err(|error| format!("the user's id, after the colon, {error}"))?;
        Ok(Self { campaign, user })
    }
}

impl fmt::Display for AdSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.campaign, self.user)
    }
}

event_types!(
    /// The type of an ad event; CloudEvents `type`.
    pub AdEventType {
        /// A user saw an advertisement.
        Impression = "io.edge.ad.impression.v1",
        /// A user clicked on it.
        Click = "io.edge.ad.click.v1",
        /// A user did what the advertiser hoped for.
        Conversion = "io.edge.ad.conversion.v1",
    }
);

impl AdEventType {
    /// Its short name, as JSON and the tables have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Impression => "impression",
            Self::Click => "click",
            Self::Conversion => "conversion",
        }
    }

    /// The type with this short name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Impression, Self::Click, Self::Conversion].into_iter().find(|one| one.name() == name)
    }
}

/// The stream of ad events.
#[derive(Debug, Clone, Copy)]
pub struct AdStream;

impl Stream for AdStream {
    const SPEC: StreamSpec = StreamSpec {
        name: "ads",
        topic: Setting::new("KAFKA_ADS_TOPIC", "kafka-ads-topic", "ads-input", "The topic of accepted ad events"),
        dead_letters: Setting::new(
            "KAFKA_ADS_DLQ_TOPIC",
            "kafka-ads-dlq-topic",
            "ads-dlq",
            "The topic of the ad events' dead letters; must differ from their input topic",
        ),
        types: AdEventType::ALL,
        extensions: event::EXTENSIONS,
        transactional: false,
    };
}

/// The settings with the names of its topics.
pub type AdTopics = TopicsOf<AdStream>;

/// The cache kind for the reports of campaigns.
pub static REPORT: Kind = Kind { prefix: "report:", load: |store, ids| queries::load_reports(store, ids).boxed() };

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
