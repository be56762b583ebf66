//! The events of the domain: their stream, their types, and their data.

use serde::Serialize;

use super::values::decimal;
use super::{NewVideo, Placed, PlacementId, ProductId, Region, ValidationId, VideoId};
use crate::kafka::schemas::{EventSchema, Published, event_schema};
use crate::kafka::{Setting, Stream, StreamSpec, TopicsOf, event_types};

event_types!(
    /// The type of an event; CloudEvents `type`.
    pub PlacementEventType {
        /// A placement was created.
        PlacementCreated = "com.nedlia.placement.created",
        /// A placement was changed.
        PlacementUpdated = "com.nedlia.placement.updated",
        /// A placement was deleted.
        PlacementDeleted = "com.nedlia.placement.deleted",
        /// A video was created.
        VideoCreated = "com.nedlia.video.created",
        /// A video was changed.
        VideoUpdated = "com.nedlia.video.updated",
        /// A validation was asked for.
        ValidationRequested = "com.nedlia.video.validation_requested",
        /// A validation has ended.
        ValidationCompleted = "com.nedlia.video.validation_completed",
        /// The files of a video are ready.
        FilesGenerated = "com.nedlia.video.files_generated",
        /// Another domain created a campaign.
        CampaignCreated = "com.nedlia.campaign.created",
        /// Another domain changed a campaign.
        CampaignUpdated = "com.nedlia.campaign.updated",
        /// Another domain ended a campaign.
        CampaignEnded = "com.nedlia.campaign.ended",
    }
);

/// The stream of what commands publish. Its records are of the outbox.
#[derive(Debug, Clone, Copy)]
pub struct DomainStream;

impl Stream for DomainStream {
    const SPEC: StreamSpec = StreamSpec {
        name: "domain-events",
        topic: Setting::new(
            "KAFKA_DOMAIN_TOPIC",
            "kafka-domain-topic",
            "domain-events",
            "The topic of what commands publish",
        ),
        dead_letters: Setting::new(
            "KAFKA_DOMAIN_DLQ_TOPIC",
            "kafka-domain-dlq-topic",
            "domain-events-dlq",
            "The topic of the dead letters of what commands publish; must differ from their topic",
        ),
        types: PlacementEventType::ALL,
        extensions: &[],
        transactional: true,
    };
}

/// The settings with the names of its topics.
pub type DomainTopics = TopicsOf<DomainStream>;

/// CloudEvents `source` of this domain's events.
pub const SOURCE: &str = "/placements";

/// The schema of [`PlacementEventType::PlacementCreated`].
pub static PLACEMENT_CREATED: EventSchema = event_schema!("com.nedlia.placement.created", 1);
/// The schema of [`PlacementEventType::PlacementUpdated`].
pub static PLACEMENT_UPDATED: EventSchema = event_schema!("com.nedlia.placement.updated", 1);
/// The schema of [`PlacementEventType::PlacementDeleted`].
pub static PLACEMENT_DELETED: EventSchema = event_schema!("com.nedlia.placement.deleted", 1);
/// The schema of [`PlacementEventType::VideoCreated`].
pub static VIDEO_CREATED: EventSchema = event_schema!("com.nedlia.video.created", 1);
/// The schema of [`PlacementEventType::VideoUpdated`].
pub static VIDEO_UPDATED: EventSchema = event_schema!("com.nedlia.video.updated", 1);
/// The schema of [`PlacementEventType::ValidationRequested`].
pub static VALIDATION_REQUESTED: EventSchema = event_schema!("com.nedlia.video.validation_requested", 1);
/// The schema of [`PlacementEventType::ValidationCompleted`].
pub static VALIDATION_COMPLETED: EventSchema = event_schema!("com.nedlia.video.validation_completed", 1);
/// The schema of [`PlacementEventType::FilesGenerated`].
pub static FILES_GENERATED: EventSchema = event_schema!("com.nedlia.video.files_generated", 1);

/// What this domain publishes.
pub static PUBLISHED: Published = Published {
    domain: "placements",
    stream: DomainStream::SPEC.name,
    schemas: &[
        &PLACEMENT_CREATED,
        &PLACEMENT_UPDATED,
        &PLACEMENT_DELETED,
        &VIDEO_CREATED,
        &VIDEO_UPDATED,
        &VALIDATION_REQUESTED,
        &VALIDATION_COMPLETED,
        &FILES_GENERATED,
    ],
};

/// The data of a placement that was created or changed. Its revision is its version: the change took one number.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacementData<'a> {
    placement_id: PlacementId,
    video_id: VideoId,
    product_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_id: Option<i64>,
    start_ms: u32,
    end_ms: u32,
    layer: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    version: i64,
    revision: i64,
}

/// The data of [`PLACEMENT_CREATED`] and [`PLACEMENT_UPDATED`].
pub fn placement_data(placed: &Placed) -> String {
    let Placed { id, video, product, campaign, range, layer, region, label, version } = placed;
    text(&PlacementData {
        placement_id: *id,
        video_id: *video,
        product_id: product.as_str(),
        campaign_id: *campaign,
        start_ms: range.start(),
        end_ms: range.end(),
        layer: *layer,
        region: *region,
        label: label.as_deref(),
        version: *version,
        revision: *version,
    })
}

/// The data of [`PLACEMENT_DELETED`]: ids alone.
pub fn deleted_data(id: PlacementId, video: VideoId, product: &ProductId, revision: i64) -> String {
    let product = product.as_str();
    text(&serde_json::json!({"placementId": id, "videoId": video, "productId": product, "revision": revision}))
}

/// The data of [`VIDEO_CREATED`] and [`VIDEO_UPDATED`].
pub fn video_data(id: VideoId, video: &NewVideo, revision: i64) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct VideoData<'a> {
        video_id: VideoId,
        title: &'a str,
        duration_ms: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        frame_rate: Option<serde_json::Number>,
        revision: i64,
    }
    let NewVideo { title, duration_ms, frame_rate } = video;
    // It has a decimal form, which is a number.
    let frame_rate = frame_rate.and_then(|rate| decimal(rate, 3).parse().ok());
    text(&VideoData { video_id: id, title, duration_ms: *duration_ms, frame_rate, revision })
}

/// The data of [`VALIDATION_REQUESTED`].
pub fn requested_data(id: ValidationId, video: VideoId, revision: i64) -> String {
    text(&serde_json::json!({"validationId": id, "videoId": video, "revision": revision}))
}

/// The data of [`VALIDATION_COMPLETED`].
pub fn completed_data(
    id: ValidationId,
    video: VideoId,
    revision: i64,
    status: &str,
    errors: usize,
    warnings: usize,
) -> String {
    text(&serde_json::json!({
        "validationId": id, "videoId": video, "revision": revision, "status": status, "errors": errors,
        "warnings": warnings
    }))
}

/// A file, as [`FILES_GENERATED`] tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GeneratedFile {
    /// The kind of file.
    pub kind: &'static str,
    /// The hash of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// How many bytes it has.
    pub bytes: u64,
}

/// The data of [`FILES_GENERATED`].
pub fn files_data(video: VideoId, revision: i64, files: &[GeneratedFile]) -> String {
    text(&serde_json::json!({"videoId": video, "revision": revision, "files": files}))
}

/// Serializing texts and numbers cannot fail.
fn text(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn placed() -> Placed {
        Placed {
            id: PlacementId::generate(),
            video: VIDEO.parse().unwrap(),
            product: "mug".parse().unwrap(),
            campaign: None,
            range: crate::placements::Range::new(0, 1_500).unwrap(),
            layer: 0,
            region: None,
            label: None,
            version: 7,
        }
    }

    #[test]
    fn the_data_of_each_type_is_as_its_schema_says() {
        let all =
            Placed { campaign: Some(7), region: Some(Region::WHOLE), label: Some("\"ü\u{2028}".into()), ..placed() };
        let video: VideoId = VIDEO.parse().unwrap();
        let known = NewVideo { title: "t".into(), duration_ms: 1, frame_rate: Some(29_970) };
        let unknown = NewVideo { frame_rate: None, ..known.clone() };
        let file = |kind| GeneratedFile { kind, sha256: "0".repeat(64), bytes: 7 };
        let id = ValidationId::generate();
        for (schema, data) in [
            (&PLACEMENT_CREATED, placement_data(&placed())),
            (&PLACEMENT_UPDATED, placement_data(&all)),
            (&PLACEMENT_DELETED, deleted_data(all.id, video, &all.product, 8)),
            (&VIDEO_CREATED, video_data(video, &known, 1)),
            (&VIDEO_UPDATED, video_data(video, &unknown, 2)),
            (&VALIDATION_REQUESTED, requested_data(id, video, 3)),
            (&VALIDATION_COMPLETED, completed_data(id, video, 3, "succeeded", 1, 2)),
            (&FILES_GENERATED, files_data(video, 3, &[file("json"), file("vtt")])),
        ] {
            assert_eq!(schema.check(&data), Ok(()), "{schema:?} {data}");
        }
        assert!(video_data(video, &known, 1).contains(r#""frameRate":29.97,"#));
        let least = format!(
            r#"{{"placementId":"{}","videoId":"{VIDEO}","productId":"mug","startMs":0,"endMs":1500,"layer":0,"version":7,"revision":7}}"#,
            placed().id
        );
        assert_eq!(placement_data(&placed()).len(), least.len(), "absent members are left out");
    }

    #[test]
    fn every_type_of_this_domain_has_a_schema_and_campaigns_are_anothers() {
        let own: Vec<_> = PUBLISHED.schemas.iter().map(|schema| schema.event_type).collect();
        let others = PlacementEventType::ALL.iter().filter(|name| !own.contains(name));
        assert!(others.clone().all(|name| name.starts_with("com.nedlia.campaign.")) && others.count() == 3);
    }
}
