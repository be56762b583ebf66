//! What the clients of advertising observed. Money is in nanos, billionths of a currency unit.

mod body;
mod end;
mod facts;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::body::{decimal, nanos};
pub use self::end::{
    AdLetter, AdRecord, AdsEnd, CachedReport, CampaignRow, Change, DayBegin, DayRow, EventRow, InvalidRow, LeaseRow,
    Outcome, StatRow, UserDay,
};
pub(super) use self::facts::AdFact;
use super::{Commit, Span, micros};

/// What the names of campaigns begin with whose day ends soon: the run itself changes their time zones.
pub const MIDNIGHT: &str = "midnight-";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdKind {
    Impression,
    Click,
    Conversion,
}

impl AdKind {
    pub const ALL: [Self; 3] = [Self::Impression, Self::Click, Self::Conversion];

    pub fn name(self) -> &'static str {
        match self {
            Self::Impression => "impression",
            Self::Click => "click",
            Self::Conversion => "conversion",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pricing {
    Cpm,
    Cpc,
    Cpa,
}

impl Pricing {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpm => "cpm",
            Self::Cpc => "cpc",
            Self::Cpa => "cpa",
        }
    }

    /// The kind of event that is billed.
    pub fn billed(self) -> AdKind {
        match self {
            Self::Cpm => AdKind::Impression,
            Self::Cpc => AdKind::Click,
            Self::Cpa => AdKind::Conversion,
        }
    }
}

/// The terms of a campaign that decide what it takes and bills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub pricing: Pricing,
    pub price: i64,
    pub total: i64,
    pub daily: Option<i64>,
    /// The most impressions of a user in a day.
    pub cap: Option<usize>,
    pub status: String,
    /// Whether capped events are taken while their count is not certain (`cap_unsure: allow`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allows: bool,
    /// Whether conversions without budget are recorded at no cost (`on_exhausted: record`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub records: bool,
    /// Whether a rule may refuse events as invalid.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub filters: bool,
}

impl Terms {
    /// What an event costs.
    pub fn cost(&self, kind: AdKind) -> i64 {
        match (self.pricing, kind) {
            // For a thousand.
            (Pricing::Cpm, AdKind::Impression) => self.price / 1_000,
            (pricing, kind) if pricing.billed() == kind => self.price,
            _ => 0,
        }
    }
}

/// A campaign that was asked for, and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The advertiser's own name for it.
    pub external_id: String,
    pub status: u16,
    /// Its id, if it was answered 200 or 201.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<i64>,
    pub terms: Terms,
}

/// One event of one post, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    pub campaign: i64,
    pub user: String,
    pub kind: AdKind,
    pub id: String,
    /// When the post was sent.
    #[serde(with = "micros")]
    pub from: Duration,
    /// When it was answered, or given up.
    #[serde(with = "micros")]
    pub to: Duration,
    /// The API that it was sent to.
    pub api: usize,
    /// The event's own status; 0 without an answer.
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Of a 202, unless it was of a batch: the day that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// Likewise: its cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    /// The seconds of `Retry-After`, of a post of one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Whether it was posted with others: then the answer has no `Retry-After` for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batched: bool,
    /// Whether it was sent 20 s after everything was quiet, to see whether its campaign takes one more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
}

impl Try {
    pub fn is_accepted(&self) -> bool {
        self.status == 202
    }

    /// Whether it was refused because the user has as many impressions as the cap allows.
    pub fn is_capped(&self) -> bool {
        self.status == 429 && self.code.as_deref() == Some("frequency_capped")
    }

    /// Whether the answer says for certain that nothing was taken.
    pub fn is_refused(&self) -> bool {
        const NOT_TAKEN: [&str; 6] =
            ["admission_unavailable", "keys_unavailable", "overloaded", "queue_full", "shutting_down", "topic_missing"];
        (400..500).contains(&self.status)
            || self.status == 503 && self.code.as_deref().is_some_and(|code| NOT_TAKEN.contains(&code))
    }

    pub fn span(&self) -> Span {
        Span { from: self.from, to: self.to }
    }
}

/// A change of a campaign that was asked for, and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    pub campaign: i64,
    #[serde(with = "micros")]
    pub from: Duration,
    #[serde(with = "micros")]
    pub to: Duration,
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The total budget that was asked for, if any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<usize>,
    /// The revision that it became, if it was answered 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The least budget that is possible, if it was refused as too low.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<i64>,
}

/// A campaign as a client read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub campaign: i64,
    #[serde(with = "micros")]
    pub at: Duration,
    pub total: i64,
    pub spent: i64,
    pub reserved: i64,
}

/// A report as a client read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub campaign: i64,
    #[serde(with = "micros")]
    pub from: Duration,
    #[serde(with = "micros")]
    pub to: Duration,
    pub version: i64,
    pub impressions: i64,
    pub clicks: i64,
    pub conversions: i64,
    pub void: i64,
    /// All invalid events, whatever the reason.
    pub invalid: i64,
    pub spend: i64,
    pub remaining: i64,
    /// See [`Read::bypass`](super::Read::bypass).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bypass: bool,
}

impl Report {
    /// The events that it counts.
    pub fn events(&self) -> i64 {
        [self.impressions, self.clicks, self.conversions, self.void, self.invalid].into_iter().sum()
    }
}

/// A campaign's money at one moment, read from PostgreSQL in one statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    pub campaign: i64,
    #[serde(default, with = "micros")]
    pub at: Duration,
    /// Whether everything had been quiet for 20 s.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    pub terms: Terms,
    pub spent: i64,
    pub reserved: i64,
    /// What its leases still hold.
    pub leased: i64,
    /// The current day in its time zone.
    pub today: String,
    pub days: Vec<DayBooks>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayBooks {
    pub day: String,
    pub budget: Option<i64>,
    pub spent: i64,
    pub reserved: i64,
    pub leased: i64,
}

/// An API that was frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenApi {
    pub api: usize,
    #[serde(flatten)]
    pub span: Span,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ads {
    /// When the run began, in microseconds since 1970: the stores' times are of that clock.
    pub began: i64,
    pub created: Vec<Created>,
    pub tries: Vec<Try>,
    pub patches: Vec<Patch>,
    pub seen: Vec<Seen>,
    pub reports: Vec<Report>,
    pub books: Vec<Books>,
    /// The committed offsets of the group that applies ad events.
    pub commits: Vec<Commit>,
    pub frozen: Vec<FrozenApi>,
    /// When the Redis of the caps evicted keys.
    pub evicted: Vec<Span>,
}
