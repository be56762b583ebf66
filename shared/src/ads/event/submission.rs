//! Parses an ad event that a client submits, and finds every fault in it.

use std::str::FromStr;

use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::data::{self, AdData, type_name};
use crate::ads::{AdEventType, AdSubject, CampaignId, UserId};
use crate::kafka::cloud_events::Submitted;
use crate::kafka::ids::EventId;
use crate::runtime::json::members::{Members, instant, parsed};
use crate::runtime::json::{BodyError, json};

/// A parsed ad event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdSubmission {
    /// The campaign.
    pub campaign: CampaignId,
    /// The user.
    pub user: UserId,
    /// The event's type.
    pub event_type: AdEventType,
    /// The client's own id for the event, if it gave one.
    pub event_id: Option<EventId>,
    /// When it happened, if the client said so.
    pub occurred_at: Option<OffsetDateTime>,
    /// The rest.
    pub data: AdData,
}

impl AdSubmission {
    /// Parses one event. The error lists every fault. An optional member that is null counts as absent.
    pub fn parse_value(value: &RawValue) -> Result<Self, BodyError> {
        let [a, b, c, d, e, f, g] = data::MEMBERS;
        let names = [a, b, c, "event_id", "occurred_at", d, e, f, g];
        let mut members = Members::of(value, "", &names, |name| Some(other(name)))?;
        let campaign = members.required("campaign_id", CampaignId::from_json);
        let user = members.required("user_id", parsed);
        let event_type = members.required("event_type", type_name);
        let event_id = members.optional("event_id", parsed);
        let occurred_at = members.optional("occurred_at", instant);
        let data = AdData::of_members(&mut members, event_type);
        match (campaign, user, event_type) {
            (Some(campaign), Some(user), Some(event_type)) if members.are_sound() => {
                Ok(Self { campaign, user, event_type, event_id, occurred_at, data })
            }
            _ => Err(BodyError::NotAnEvent(members.into_faults())),
        }
    }

    /// Parses the data of a CloudEvent, whose subject is the campaign and the user. The error lists every fault.
    pub fn of_cloud_event(event: Submitted<SubmittedAdType, AdSubject>) -> Result<Self, BodyError> {
        let Submitted { event_type: SubmittedAdType(event_type), subject, id, time, data } = event;
        let other = |name: &str| {
            Some(match name {
                "event_id" => "must be the CloudEvent's id instead".to_owned(),
                "occurred_at" => "must be the CloudEvent's time instead".to_owned(),
                name => other(name),
            })
        };
        let data = AdData::of_cloud_event(json(data.as_bytes())?, "/data", &subject, event_type, other)?;
        let AdSubject { campaign, user } = subject;
        Ok(Self { campaign, user, event_type, event_id: Some(id), occurred_at: time, data })
    }
}

/// The type of a CloudEvent that a client submits. The error says where an event of a device goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubmittedAdType(AdEventType);

impl FromStr for SubmittedAdType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let of_device = text.starts_with("io.edge.device.");
        text.parse().map(Self).map_err(|error| if of_device { format!("{error}; {OF_DEVICES}") } else { error })
    }
}

const OF_DEVICES: &str = "events of devices go to /events, batches of them to /events/batch";

/// The fault of a member that an ad event does not have.
fn other(name: &str) -> String {
    match name {
        "device_id" | "payload" => format!("is not a field of an ad event; {OF_DEVICES}"),
        _ => "is not a field of an ad event".to_owned(),
    }
}
