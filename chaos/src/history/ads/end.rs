//! What the log and the stores hold of advertising at the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AdKind, Terms};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignRow {
    pub campaign: i64,
    pub external_id: Option<String>,
    pub terms: Terms,
    pub spent: i64,
    pub reserved: i64,
    /// The part of `spent` whose events have expired or were erased.
    pub booked_out: i64,
    pub impressions: i64,
    pub clicks: i64,
    pub conversions: i64,
    pub value: i64,
    pub void: i64,
    /// Who has counted events; older histories do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<i64>,
    /// The days of the run in its time zone, and one more.
    pub days: Vec<DayBegin>,
}

/// When a day began, in microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayBegin {
    pub day: String,
    pub begins: i64,
}

/// A change of a campaign's terms; the first one made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub campaign: i64,
    pub revision: i64,
    /// The day in the campaign's time zone.
    pub day: String,
    /// In microseconds since 1970.
    pub at: i64,
    /// The terms after it.
    pub terms: Terms,
    /// The money at that time.
    pub spent: i64,
    pub reserved: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayRow {
    pub campaign: i64,
    pub day: String,
    pub budget: Option<i64>,
    pub spent: i64,
    pub reserved: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    pub lease: String,
    pub campaign: i64,
    pub day: String,
    pub amount: i64,
    pub settled: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Counted,
    Void,
    Invalid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    pub campaign: i64,
    pub id: String,
    pub user: String,
    pub kind: AdKind,
    pub day: String,
    pub cost: i64,
    pub value: Option<i64>,
    pub outcome: Outcome,
    pub reason: Option<String>,
    /// When it was accepted, in microseconds since 1970.
    pub accepted: i64,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatRow {
    pub campaign: i64,
    pub day: String,
    pub hour: i64,
    pub impressions: i64,
    pub clicks: i64,
    pub conversions: i64,
    pub spend: i64,
    pub value: i64,
    pub void: i64,
    /// Whose first counted event of the day is of this hour; older histories do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDay {
    pub campaign: i64,
    pub user: String,
    pub day: String,
    pub impressions: i64,
    pub clicks: i64,
    pub conversions: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidRow {
    pub campaign: i64,
    pub reason: String,
    pub events: i64,
}

/// A record of the topic of ad events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdRecord {
    pub campaign: i64,
    pub id: String,
    pub user: String,
    pub kind: AdKind,
    pub partition: i32,
    pub offset: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    pub day: String,
    pub cost: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdLetter {
    /// The record's key, `campaign:user`.
    pub key: String,
    pub id: String,
    pub reason: String,
    pub error: String,
}

/// A report in the cache, and what PostgreSQL makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedReport {
    pub campaign: i64,
    pub body: String,
    pub stored: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct AdsEnd {
    pub campaigns: Vec<CampaignRow>,
    pub changes: Vec<Change>,
    pub days: Vec<DayRow>,
    pub leases: Vec<LeaseRow>,
    pub events: Vec<EventRow>,
    pub stats: Vec<StatRow>,
    pub user_days: Vec<UserDay>,
    pub invalid: Vec<InvalidRow>,
    pub records: Vec<AdRecord>,
    pub letters: Vec<AdLetter>,
    pub cached: Vec<CachedReport>,
    /// Partitions that the group did not finish: the committed offset and the end offset.
    pub left: BTreeMap<i32, (i64, i64)>,
}
