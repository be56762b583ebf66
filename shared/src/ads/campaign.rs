//! A campaign's terms: what the advertiser chose.

mod choices;
mod members;

use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;

pub use self::choices::{CapUnsure, OnExhausted, Pacing, PricingModel, Status};
pub(super) use self::members::{Change, MEMBERS, Patched, other};
use super::AdEventType;
use super::money::Nanos;
use crate::runtime::json::members::Members;
use crate::runtime::json::{self, BodyError, Fault};
use crate::runtime::rfc3339;
use crate::runtime::sabotage::makes;

/// The terms of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The advertiser's own id for it: creating it again is a repeat.
    pub external_id: Option<String>,
    /// Its name.
    pub name: String,
    /// What is paid for.
    pub pricing_model: PricingModel,
    /// The price of a thousand impressions (CPM), a click (CPC) or a conversion (CPA).
    pub unit_price: Nanos,
    /// The currency (ISO 4217).
    pub currency: String,
    /// The most that it may spend.
    pub total_budget: Nanos,
    /// The most that it may spend in a day.
    pub daily_budget: Option<Nanos>,
    /// The most impressions of a user in a day; in JSON `freq_cap_impressions_per_day`.
    pub cap: Option<u32>,
    /// The time zone of its days (IANA).
    pub timezone: String,
    /// When it starts.
    pub starts_at: Option<OffsetDateTime>,
    /// When it ends.
    pub ends_at: Option<OffsetDateTime>,
    /// Its place in the lifecycle.
    pub status: Status,
    /// How its daily budget is spread over the day.
    pub pacing: Pacing,
    /// What becomes of conversions that its budget cannot pay for.
    pub on_exhausted: OnExhausted,
    /// What becomes of capped impressions while nobody knows how many the user had.
    pub cap_unsure: CapUnsure,
    /// Which events are invalid.
    pub rules: Rules,
}

/// Rules by which events are invalid: they are recorded and not billed. All are off by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Whether a click needs an impression before it.
    pub click_requires_impression: bool,
    /// For how many seconds after a click another one of the same user is a duplicate.
    pub duplicate_click_window: Option<u32>,
    /// How many seconds after the click or impression a conversion may come.
    pub conversion_window: Option<u32>,
    /// The most events of a user in a minute.
    pub user_events_per_minute: Option<u32>,
    /// Texts that the user agent of a valid event does not contain, in any case.
    pub blocked_user_agents: Vec<String>,
}

impl Terms {
    /// Parses the body that creates a campaign. The error lists every fault. An optional member that is null counts as
    /// absent.
    pub fn parse(body: &Bytes) -> Result<Self, BodyError> {
        let names = MEMBERS.each_ref().map(|member| member.name);
        let mut members = Members::of(json::json(body)?, "", &names, other)?;
        let mut terms = Self::unset();
        for member in &MEMBERS {
            let change = match member.absent {
                Some(absent) if members.given(member.name).is_none() => Some(absent()),
                _ => member.read(&mut members),
            };
            if let Some(change) = change {
                change.make(&mut terms);
            }
        }
        if terms.status == Status::Ended {
            members.fault("status", "must be draft, active or paused in a new campaign");
        }
        let mut faults = members.into_faults();
        faults.extend(terms.faults(&faults));
        if faults.is_empty() { Ok(terms) } else { Err(BodyError::NotAnEvent(faults)) }
    }

    /// Terms whose members are still to be set, and which have no fault of their own until then.
    fn unset() -> Self {
        Self {
            external_id: None,
            name: String::new(),
            pricing_model: PricingModel::Cpm,
            unit_price: Nanos::ZERO,
            currency: String::new(),
            total_budget: Nanos::new(i64::MAX),
            daily_budget: None,
            cap: None,
            timezone: String::new(),
            starts_at: None,
            ends_at: None,
            status: Status::default(),
            pacing: Pacing::default(),
            on_exhausted: OnExhausted::default(),
            cap_unsure: CapUnsure::default(),
            rules: Rules::default(),
        }
    }

    /// What an event of this type costs. It is exact.
    pub fn cost(&self, event_type: AdEventType) -> Nanos {
        match (self.pricing_model, event_type) {
            (PricingModel::Cpm, AdEventType::Impression) if makes("float-money") => {
                let price = self.unit_price.get() as f64 / 1e9;
                Nanos::new((price / 1_000.0 * 1e9) as i64)
            }
            (PricingModel::Cpm, AdEventType::Impression) => self.unit_price.thousandth(),
            (PricingModel::Cpc, AdEventType::Click) | (PricingModel::Cpa, AdEventType::Conversion) => self.unit_price,
            (PricingModel::Cpm | PricingModel::Cpc | PricingModel::Cpa, _) => Nanos::ZERO,
        }
    }

    /// The faults of members that do not fit together. A member that could not be read, as `unread` says, has none beside
    /// that.
    pub fn faults(&self, unread: &[Fault]) -> Vec<Fault> {
        let are_read = |pointers: [&str; 2]| !unread.iter().any(|fault| pointers.contains(&&*fault.pointer));
        let later = |starts_at| self.ends_at.is_none_or(|ends_at| ends_at > starts_at);
        [
            (
                ["/daily_budget", "/total_budget"],
                self.daily_budget.is_none_or(|daily| daily <= self.total_budget),
                "must not be greater than total_budget",
            ),
            (["/ends_at", "/starts_at"], self.starts_at.is_none_or(later), "must be later than starts_at"),
            (
                ["/pacing", "/daily_budget"],
                self.pacing != Pacing::Even || self.daily_budget.is_some(),
                "cannot be even without a daily_budget, which is what it spreads over the day",
            ),
        ]
        .into_iter()
        .filter(|(pointers, fits, _)| !fits && are_read(*pointers))
        .map(|([pointer, _], _, detail)| Fault { pointer: pointer.to_owned(), detail: detail.to_owned() })
        .collect()
    }

    /// The terms as JSON, with the members that [`Terms::parse`] reads.
    pub fn to_json(&self) -> Value {
        let Rules {
            click_requires_impression,
            duplicate_click_window,
            conversion_window,
            user_events_per_minute,
            blocked_user_agents,
        } = &self.rules;
        json!({
            "external_id": self.external_id,
            "name": self.name,
            "pricing_model": self.pricing_model.as_str(),
            "unit_price": self.unit_price,
            "currency": self.currency,
            "total_budget": self.total_budget,
            "daily_budget": self.daily_budget,
            "freq_cap_impressions_per_day": self.cap,
            "timezone": self.timezone,
            "starts_at": self.starts_at.map(rfc3339::format),
            "ends_at": self.ends_at.map(rfc3339::format),
            "status": self.status.as_str(),
            "pacing": self.pacing.as_str(),
            "on_exhausted": self.on_exhausted.as_str(),
            "cap_unsure": self.cap_unsure.as_str(),
            "click_requires_impression": click_requires_impression,
            "duplicate_click_window_seconds": duplicate_click_window,
            "conversion_window_seconds": conversion_window,
            "user_events_per_minute": user_events_per_minute,
            "blocked_user_agents": blocked_user_agents,
        })
    }
}

#[cfg(test)]
mod tests;
