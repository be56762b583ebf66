//! The data of an ad event: what the client said beyond campaign, user and type.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::ads::money::Nanos;
use crate::ads::{AdEventType, AdSubject, CampaignId, UserId};
use crate::kafka::ids::EventId;
use crate::runtime::json::members::{Members, parsed};
use crate::runtime::json::{BodyError, text};

/// What the client said of an ad event, beyond campaign, user and type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdData {
    /// What a conversion was worth.
    pub value: Option<Nanos>,
    /// The impression that led to it.
    pub impression_id: Option<EventId>,
    /// The click that led to it.
    pub click_id: Option<EventId>,
    /// The user's browser or app.
    pub user_agent: Option<String>,
}

/// The members that name campaign, user and type, and those of [`AdData`].
pub(super) const MEMBERS: [&str; 7] =
    ["campaign_id", "user_id", "event_type", "value", "impression_id", "click_id", "user_agent"];

/// The longest user agent, in characters.
const MAX_USER_AGENT: usize = 512;

impl AdData {
    /// Reads the data of a record. Members that this version does not know are ignored.
    pub(super) fn of_record(data: &RawValue, subject: &AdSubject, of: AdEventType) -> Result<Self, BodyError> {
        Self::of_cloud_event(data, "", subject, of, |_| None)
    }

    /// Reads the data of a CloudEvent, at this JSON pointer. The members that name campaign, user and type may be absent,
    /// because the attributes have them, but may not differ from them.
    pub(super) fn of_cloud_event(
        data: &RawValue,
        place: &'static str,
        subject: &AdSubject,
        event_type: AdEventType,
        other: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BodyError> {
        let mut members = Members::of(data, place, &MEMBERS, other)?;
        let campaign = members.optional("campaign_id", CampaignId::from_json);
        if campaign.is_some_and(|campaign| campaign != subject.campaign) {
            members.fault("campaign_id", "must be the campaign of the CloudEvent's subject");
        }
        let user: Option<UserId> = members.optional("user_id", parsed);
        if user.is_some_and(|user| user != subject.user) {
            members.fault("user_id", "must be the user of the CloudEvent's subject");
        }
        if members.optional("event_type", type_name).is_some_and(|named| named != event_type) {
            members.fault("event_type", "must be the CloudEvent's type");
        }
        let data = Self::of_members(&mut members, Some(event_type));
        if members.are_sound() { Ok(data) } else { Err(BodyError::NotAnEvent(members.into_faults())) }
    }

    /// Reads its members, for an event of this type, if that is known.
    pub(super) fn of_members(members: &mut Members<'_>, event_type: Option<AdEventType>) -> Self {
        let value = members.optional("value", Nanos::from_json);
        let has_value = event_type.is_none_or(|event_type| match event_type {
            AdEventType::Conversion => true,
            AdEventType::Impression | AdEventType::Click => false,
        });
        if value.is_some() && !has_value {
            members.fault("value", "is only for conversions");
        }
        Self {
            value,
            impression_id: members.optional("impression_id", parsed),
            click_id: members.optional("click_id", parsed),
            user_agent: members.optional("user_agent", user_agent),
        }
    }

    /// The value of its record: a JSON object.
    pub(super) fn to_json(&self, campaign: CampaignId, user: &UserId, event_type: AdEventType) -> String {
        let Self { value, impression_id, click_id, user_agent } = self;
        let user = Value::from(user.as_str());
        let mut json = format!(r#"{{"campaign_id":{campaign},"user_id":{user},"event_type":"{}""#, event_type.name());
        let value = value.map(|value| value.to_string());
        for (name, text) in [
            ("value", value.as_deref()),
            ("impression_id", impression_id.as_ref().map(EventId::as_str)),
            ("click_id", click_id.as_ref().map(EventId::as_str)),
            ("user_agent", user_agent.as_deref()),
        ] {
            if let Some(text) = text {
                json.push_str(&format!(r#","{name}":{}"#, Value::from(text)));
            }
        }
        json.push('}');
        json
    }
}

/// Reads the short name of a type.
pub(super) fn type_name(raw: &RawValue) -> Result<AdEventType, String> {
    AdEventType::from_name(&text(raw)?).ok_or_else(|| "must be one of impression, click, conversion".to_owned())
}

fn user_agent(raw: &RawValue) -> Result<String, String> {
    let text = text(raw)?;
    if text.chars().count() > MAX_USER_AGENT {
        return Err(format!("must be at most {MAX_USER_AGENT} characters long"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(text.into_owned())
}
