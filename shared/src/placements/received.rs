//! An event as subscribers read it. Members that are not known are ignored, so that a later version may have more.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use time::OffsetDateTime;

use super::events::PlacementEventType;
use super::{ValidationId, VideoId};
use crate::kafka::{Envelope, Refusal};
use crate::runtime::json::Payload;
use crate::runtime::rfc3339;

/// An event that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEvent {
    /// Its type.
    pub event_type: PlacementEventType,
    /// Its number among those of its aggregate, which is the record's key.
    pub sequence: i64,
    /// What it is about.
    pub about: About,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A video: its content, or its files.
    Video(VideoId),
    /// A validation of a video.
    Validation(ValidationId, VideoId),
    /// A campaign.
    Campaign(CampaignTold),
}

/// What an event tells of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignTold {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: String,
    /// When it begins, if it does not at once.
    pub starts_at: Option<OffsetDateTime>,
    /// When it ends, if it does.
    pub ends_at: Option<OffsetDateTime>,
}

impl CampaignTold {
    /// The key of its records.
    fn key(&self) -> String {
        format!("campaign-{}", self.id)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfVideo<'a> {
    #[serde(borrow)]
    video_id: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfValidation<'a> {
    #[serde(borrow)]
    video_id: Cow<'a, str>,
    #[serde(borrow)]
    validation_id: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfCampaign {
    campaign_id: i64,
    name: String,
    status: String,
    starts_at: Option<String>,
    ends_at: Option<String>,
}

impl DomainEvent {
    /// Decodes an event from an envelope. The error is the first fault; it quotes nothing of the data.
    pub fn decode(envelope: &Envelope) -> Result<Self, Refusal> {
        let event_type: PlacementEventType = envelope.type_as()?;
        let sequence = envelope.sequence.ok_or_else(|| Refusal::undecodable("sequence is missing"))?;
        let about = match event_type {
            PlacementEventType::PlacementCreated
            | PlacementEventType::PlacementUpdated
            | PlacementEventType::PlacementDeleted
            | PlacementEventType::VideoCreated
            | PlacementEventType::VideoUpdated
            | PlacementEventType::FilesGenerated => {
                let OfVideo { video_id } = data(envelope)?;
                About::Video(video(envelope, &video_id)?)
            }
            PlacementEventType::ValidationRequested | PlacementEventType::ValidationCompleted => {
                let OfValidation { video_id, validation_id } = data(envelope)?;
                About::Validation(member("validationId", validation_id.parse())?, video(envelope, &video_id)?)
            }
            PlacementEventType::CampaignCreated
            | PlacementEventType::CampaignUpdated
            | PlacementEventType::CampaignEnded => About::Campaign(campaign(envelope)?),
        };
        Ok(Self { event_type, sequence, about })
    }

    /// A probe's event, with its type: of a video and a validation that were never made.
    pub fn of_nobody(event_type: PlacementEventType, _: Arc<str>, _: Payload) -> (&'static str, Self) {
        let video = VideoId::generate();
        let about = match event_type {
            PlacementEventType::ValidationRequested | PlacementEventType::ValidationCompleted => {
                About::Validation(ValidationId::generate(), video)
            }
            _ => About::Video(video),
        };
        (event_type.as_str(), Self { event_type, sequence: 1, about })
    }
}

fn data<'a, T: Deserialize<'a>>(envelope: &'a Envelope) -> Result<T, Refusal> {
    serde_json::from_slice(&envelope.data).map_err(|error| {
        Refusal::undecodable(format!(
            "the data has not the members of its type ({:?} error at column {})",
            error.classify(),
            error.column()
        ))
    })
}

fn member<T, E: ToString>(name: &str, parsed: Result<T, E>) -> Result<T, Refusal> {
    parsed.map_err(|error| Refusal::undecodable(format!("{name} of the data {}", error.to_string())))
}

/// The video, which is the record's key, so that its events stay in order.
fn video(envelope: &Envelope, id: &str) -> Result<VideoId, Refusal> {
    let video: VideoId = member("videoId", id.parse())?;
    if envelope.key.as_str() != &*video.aggregate() {
        return Err(Refusal::undecodable("the key is not the video"));
    }
    Ok(video)
}

fn campaign(envelope: &Envelope) -> Result<CampaignTold, Refusal> {
    // Its texts go to PostgreSQL.
    envelope.payload()?;
    let OfCampaign { campaign_id, name, status, starts_at, ends_at } = data(envelope)?;
    let time = |name: &str, text: Option<String>| {
        let parsed = text.map(|text| rfc3339::parse(&text).ok_or("is not a time of RFC 3339"));
        member(name, parsed.transpose())
    };
    let told = CampaignTold {
        id: campaign_id,
        name,
        status,
        starts_at: time("startsAt", starts_at)?,
        ends_at: time("endsAt", ends_at)?,
    };
    if envelope.key.as_str() != told.key() {
        return Err(Refusal::undecodable("the key is not the campaign"));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ids::{EventId, Key};

    const VIDEO: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const OTHER: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

    fn envelope(event_type: &'static str, key: &str, data: &str) -> Envelope {
        let now = OffsetDateTime::UNIX_EPOCH;
        let new = Envelope::new(event_type, Key::from(key), EventId::generate(), now, data.to_owned().into());
        Envelope { sequence: Some(7), ..new }
    }

    #[test]
    fn every_type_is_about_its_video_its_validation_or_its_campaign() {
        let video: VideoId = VIDEO.parse().unwrap();
        for event_type in PlacementEventType::ALL {
            let (key, data) = if event_type.starts_with("com.nedlia.campaign.") {
                let data =
                    r#"{"campaignId":3,"name":"n","status":"active","endsAt":"2026-01-02T03:04:05Z","later":[]}"#;
                ("campaign-3", data.to_owned())
            } else {
                (VIDEO, format!(r#"{{"videoId":"{VIDEO}","validationId":"{OTHER}","later":{{}}}}"#))
            };
            let event = DomainEvent::decode(&envelope(event_type, key, &data)).unwrap();
            assert_eq!((event.event_type.as_str(), event.sequence), (*event_type, 7));
            match event.about {
                About::Video(found) => assert_eq!(found, video),
                About::Validation(id, found) => assert_eq!((id.to_string().as_str(), found), (OTHER, video)),
                About::Campaign(told) => {
                    assert_eq!((told.id, told.name.as_str(), told.status.as_str()), (3, "n", "active"));
                    assert_eq!((told.starts_at, told.ends_at.is_some()), (None, true));
                }
            }
        }
    }

    #[test]
    fn what_is_no_event_says_why() {
        let created = "com.nedlia.placement.created";
        let good = format!(r#"{{"videoId":"{VIDEO}"}}"#);
        let campaign = |more: &str| format!(r#"{{"campaignId":3,"name":"n","status":"active"{more}}}"#);
        let ended = "com.nedlia.campaign.ended";
        for (envelope, why) in [
            (Envelope { sequence: None, ..envelope(created, VIDEO, &good) }, "sequence is missing"),
            (envelope(created, OTHER, &good), "the key is not the video"),
            (envelope(created, VIDEO, "{}"), "has not the members of its type"),
            (envelope(created, VIDEO, r#"{"videoId":"secret"}"#), "videoId of the data must be a UUID"),
            (envelope("com.nedlia.video.validation_requested", VIDEO, &good), "has not the members of its type"),
            (envelope(ended, "campaign-4", &campaign("")), "the key is not the campaign"),
            (envelope(ended, "campaign-3", &campaign(r#","endsAt":"soon""#)), "endsAt of the data is not a time"),
            (envelope(ended, "campaign-3", &campaign(r#","x":"\u0000""#)), "contains \\u0000"),
        ] {
            let refused = DomainEvent::decode(&envelope).unwrap_err().error;
            assert!(refused.contains(why) && !refused.contains("secret"), "{refused}");
        }
    }
}
