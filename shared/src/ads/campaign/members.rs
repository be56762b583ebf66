//! The members of a campaign's JSON: their names, how each is read, and what it changes.

use serde_json::value::RawValue;
use time::{OffsetDateTime, UtcOffset};

use super::{CapUnsure, OnExhausted, Pacing, PricingModel, Status, Terms};
use crate::ads::money::Nanos;
use crate::kafka::ids::token;
use crate::runtime::json::members::{Members, boolean, instant, parsed, whole};
use crate::runtime::json::{Fault, text};

/// A new value of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ads) enum Change {
    ExternalId(Option<String>),
    Name(String),
    PricingModel(PricingModel),
    UnitPrice(Nanos),
    Currency(String),
    TotalBudget(Nanos),
    DailyBudget(Option<Nanos>),
    Cap(Option<u32>),
    Timezone(String),
    StartsAt(Option<OffsetDateTime>),
    EndsAt(Option<OffsetDateTime>),
    Status(Status),
    Pacing(Pacing),
    OnExhausted(OnExhausted),
    CapUnsure(CapUnsure),
    ClickRequiresImpression(bool),
    DuplicateClickWindow(Option<u32>),
    ConversionWindow(Option<u32>),
    UserEventsPerMinute(Option<u32>),
    BlockedUserAgents(Vec<String>),
}

impl Change {
    /// Makes the change.
    pub(in crate::ads) fn make(self, terms: &mut Terms) {
        match self {
            Self::ExternalId(id) => terms.external_id = id,
            Self::Name(name) => terms.name = name,
            Self::PricingModel(model) => terms.pricing_model = model,
            Self::UnitPrice(price) => terms.unit_price = price,
            Self::Currency(currency) => terms.currency = currency,
            Self::TotalBudget(budget) => terms.total_budget = budget,
            Self::DailyBudget(budget) => terms.daily_budget = budget,
            Self::Cap(cap) => terms.cap = cap,
            Self::Timezone(zone) => terms.timezone = zone,
            Self::StartsAt(time) => terms.starts_at = time,
            Self::EndsAt(time) => terms.ends_at = time,
            Self::Status(status) => terms.status = status,
            Self::Pacing(pacing) => terms.pacing = pacing,
            Self::OnExhausted(choice) => terms.on_exhausted = choice,
            Self::CapUnsure(choice) => terms.cap_unsure = choice,
            Self::ClickRequiresImpression(required) => terms.rules.click_requires_impression = required,
            Self::DuplicateClickWindow(window) => terms.rules.duplicate_click_window = window,
            Self::ConversionWindow(window) => terms.rules.conversion_window = window,
            Self::UserEventsPerMinute(most) => terms.rules.user_events_per_minute = most,
            Self::BlockedUserAgents(texts) => terms.rules.blocked_user_agents = texts,
        }
    }
}

/// A member of a campaign's JSON.
pub(in crate::ads) struct Member {
    pub(in crate::ads) name: &'static str,
    /// Its value in a campaign that does not have it; `None` if each has it.
    pub(in crate::ads) absent: Option<fn() -> Change>,
    pub(in crate::ads) patched: Patched,
    read: Read,
}

/// What a patch may do to a member.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ads) enum Patched {
    /// Nothing.
    Never,
    /// Give it another value.
    Set,
    /// Give it another value, or remove it.
    SetOrRemoved,
}

/// Reads a value. The pointers of faults are relative to the member.
type Read = fn(&RawValue) -> Result<Change, Vec<Fault>>;

impl Member {
    /// Its new value. That it is absent is a fault.
    pub(in crate::ads) fn read(&self, members: &mut Members<'_>) -> Option<Change> {
        let raw = members.required(self.name, Ok)?;
        (self.read)(raw).map_err(|faults| members.faults_below(self.name, faults)).ok()
    }
}

const fn member(name: &'static str, patched: Patched, absent: Option<fn() -> Change>, read: Read) -> Member {
    Member { name, absent, patched, read }
}

/// A caller may send these, and the services read no others.
pub(in crate::ads) static MEMBERS: [Member; 20] = {
    use Change as To;
    use Patched::{Never, Set, SetOrRemoved};
    [
        member("external_id", Never, Some(|| To::ExternalId(None)), |raw| {
            one(spelt(raw, 64), |id| To::ExternalId(Some(id)))
        }),
        member("name", Set, None, |raw| one(words(raw, 200), To::Name)),
        member("pricing_model", Never, None, |raw| one(parsed(raw), To::PricingModel)),
        member("unit_price", Set, None, |raw| one(Nanos::from_json(raw), To::UnitPrice)),
        member("currency", Never, Some(|| To::Currency("USD".into())), |raw| one(currency(raw), To::Currency)),
        member("total_budget", Set, None, |raw| one(budget(raw), To::TotalBudget)),
        member("daily_budget", SetOrRemoved, Some(|| To::DailyBudget(None)), |raw| {
            one(Nanos::from_json(raw), |budget| To::DailyBudget(Some(budget)))
        }),
        member("freq_cap_impressions_per_day", SetOrRemoved, Some(|| To::Cap(None)), |raw| {
            one(whole(raw, MOST_EVENTS), |cap| To::Cap(Some(cap)))
        }),
        member("timezone", SetOrRemoved, Some(|| To::Timezone("UTC".into())), |raw| one(zone(raw), To::Timezone)),
        member("starts_at", SetOrRemoved, Some(|| To::StartsAt(None)), |raw| {
            one(time(raw), |at| To::StartsAt(Some(at)))
        }),
        member("ends_at", SetOrRemoved, Some(|| To::EndsAt(None)), |raw| one(time(raw), |at| To::EndsAt(Some(at)))),
        // To remove the status of a paused campaign must not start it.
        member("status", Set, Some(|| To::Status(Status::default())), |raw| one(parsed(raw), To::Status)),
        member("pacing", SetOrRemoved, Some(|| To::Pacing(Pacing::default())), |raw| one(parsed(raw), To::Pacing)),
        member("on_exhausted", SetOrRemoved, Some(|| To::OnExhausted(OnExhausted::default())), |raw| {
            one(parsed(raw), To::OnExhausted)
        }),
        member("cap_unsure", SetOrRemoved, Some(|| To::CapUnsure(CapUnsure::default())), |raw| {
            one(parsed(raw), To::CapUnsure)
        }),
        member("click_requires_impression", SetOrRemoved, Some(|| To::ClickRequiresImpression(false)), |raw| {
            one(boolean(raw), To::ClickRequiresImpression)
        }),
        member("duplicate_click_window_seconds", SetOrRemoved, Some(|| To::DuplicateClickWindow(None)), |raw| {
            one(whole(raw, YEAR), |window| To::DuplicateClickWindow(Some(window)))
        }),
        member("conversion_window_seconds", SetOrRemoved, Some(|| To::ConversionWindow(None)), |raw| {
            one(whole(raw, YEAR), |window| To::ConversionWindow(Some(window)))
        }),
        member("user_events_per_minute", SetOrRemoved, Some(|| To::UserEventsPerMinute(None)), |raw| {
            one(whole(raw, MOST_EVENTS), |most| To::UserEventsPerMinute(Some(most)))
        }),
        member("blocked_user_agents", SetOrRemoved, Some(|| To::BlockedUserAgents(Vec::new())), |raw| {
            user_agents(raw).map(To::BlockedUserAgents)
        }),
    ]
};

/// The greatest limit of a user's events.
const MOST_EVENTS: u32 = 1_000_000;
/// The longest window: 365 days, in seconds.
const YEAR: u32 = 31_536_000;
/// The most texts in the list of user agents.
const MOST_USER_AGENTS: usize = 100;

/// The members of a campaign that only the services set.
const READ_ONLY: [&str; 9] =
    ["id", "owner", "state", "spent", "reserved", "remaining", "revision", "created_at", "updated_at"];

/// The fault of a member that [`MEMBERS`] does not have.
pub(in crate::ads) fn other(name: &str) -> Option<String> {
    let detail = if READ_ONLY.contains(&name) { "is read-only" } else { "is not a field of a campaign" };
    Some(detail.to_owned())
}

/// A change by a value that has at most one fault.
fn one<T>(value: Result<T, String>, change: impl FnOnce(T) -> Change) -> Result<Change, Vec<Fault>> {
    value.map(change).map_err(|detail| vec![Fault { pointer: String::new(), detail }])
}

/// A token, such as an event's id.
fn spelt(raw: &RawValue, most: usize) -> Result<String, String> {
    let text = text(raw)?;
    token(&text, most).map_err(|error| error.to_string())?;
    Ok(text.into_owned())
}

/// A text for people.
fn words(raw: &RawValue, most: usize) -> Result<String, String> {
    let text = text(raw)?;
    if !(1..=most).contains(&text.chars().count()) {
        return Err(format!("must be 1 to {most} characters long"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(text.into_owned())
}

fn currency(raw: &RawValue) -> Result<String, String> {
    let text = text(raw)?;
    let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code { Ok(text.into_owned()) } else { Err("must be three capital letters (ISO 4217)".to_owned()) }
}

fn budget(raw: &RawValue) -> Result<Nanos, String> {
    let budget = Nanos::from_json(raw)?;
    if budget > Nanos::ZERO { Ok(budget) } else { Err("must be greater than 0".to_owned()) }
}

/// The name of a time zone by its form. Only PostgreSQL knows which ones there are.
fn zone(raw: &RawValue) -> Result<String, String> {
    let text = text(raw)?;
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'))
    };
    let is_name = text.len() <= 64 && text.split('/').all(is_part);
    let wrong = || "must be the IANA name of a time zone, such as Europe/Berlin, of at most 64 characters".to_owned();
    if is_name { Ok(text.into_owned()) } else { Err(wrong()) }
}

/// A time as PostgreSQL stores it: in UTC and whole microseconds.
fn time(raw: &RawValue) -> Result<OffsetDateTime, String> {
    let time = instant(raw)?.to_offset(UtcOffset::UTC);
    let whole = time.replace_nanosecond(time.microsecond() * 1_000);
    whole.map_err(|error| error.to_string())
}

fn user_agents(raw: &RawValue) -> Result<Vec<String>, Vec<Fault>> {
    let wrong = |pointer: String, detail: String| Fault { pointer, detail };
    let not_an_array = |_| vec![wrong(String::new(), "must be an array of strings".to_owned())];
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(not_an_array)?;
    if items.len() > MOST_USER_AGENTS {
        return Err(vec![wrong(String::new(), format!("must have at most {MOST_USER_AGENTS} items"))]);
    }
    let (mut texts, mut faults) = (Vec::with_capacity(items.len()), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        match words(item, 200) {
            Ok(text) => texts.push(text),
            Err(detail) => faults.push(wrong(format!("/{index}"), detail)),
        }
    }
    if faults.is_empty() { Ok(texts) } else { Err(faults) }
}
