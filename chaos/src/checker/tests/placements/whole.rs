//! An intact history of a video.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::at;
use crate::history::ads::AdsEnd;
use crate::history::placements::{
    Ask, DomainRecord, FileRead, FileRow, InboxRow, KnownCampaign, Number, Object, PlacementRow, Placements,
    PlacementsEnd, ProductRow, Tried, ValidationRead, ValidationRow, VideoRead, VideoRow,
};
use crate::history::sha256;

pub(super) const SECOND: i64 = 1_000_000;

pub(super) fn tried(key: &str, at_: u64, ask: Ask, status: u16) -> Tried {
    Tried {
        key: key.into(),
        ask,
        reuses: false,
        from: at(at_),
        to: at(at_) + Duration::from_millis(100),
        api: 0,
        status,
        code: None,
        replayed: false,
        etag: None,
        location: None,
        body: String::new(),
    }
}

pub(super) fn refused(key: &str, at_: u64, ask: Ask, status: u16, code: &str) -> Tried {
    let body = json!({"code": code}).to_string();
    Tried { code: Some(code.into()), body, ..tried(key, at_, ask, status) }
}

/// A 2xx with a placement or a video of this version.
pub(super) fn done(key: &str, at_: u64, ask: Ask, status: u16, version: i64, body: Value) -> Tried {
    let mut body = body;
    body["version"] = version.into();
    let new = |kind: &str| Some(format!("/{kind}/{}", body["id"].as_str().unwrap()));
    let (etag, location) = match &ask {
        Ask::CreateVideo { .. } => (Some(format!("\"{version}-then\"")), new("videos")),
        Ask::Place { .. } => (Some(format!("\"{version}\"")), new("placements")),
        Ask::ChangePlacement { .. } => (Some(format!("\"{version}\"")), None),
        Ask::Validate { .. } => (None, new("validations")),
        _ => (None, None),
    };
    Tried { etag, location, body: body.to_string(), ..tried(key, at_, ask, status) }
}

pub(super) fn placement(product: &str, start: i64, end: i64) -> Value {
    json!({"productId": product, "startMs": start, "endMs": end, "layer": 0})
}

/// The same with other members, too.
pub(super) fn with(mut object: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// An event of the video `v`, or of a campaign; with its data.
pub(super) fn event(key: &str, number: i64, kind: &str, correlation: &str, data: Value) -> DomainRecord {
    DomainRecord {
        partition: 0,
        offset: 100 * i64::from(key != "v") + 2 * number,
        key: key.into(),
        id: format!("{key}-{number}"),
        kind: kind.into(),
        sequence: Some(number),
        correlation: Some(correlation.into()),
        causation: None,
        redriven: false,
        data,
    }
}

/// What the event of a placement says of it.
pub(super) fn placed(id: &str, number: i64, placement: Value) -> Value {
    with(placement, json!({"placementId": id, "videoId": "v", "version": number, "revision": number}))
}

pub(super) fn follows(record: DomainRecord, cause: i64) -> DomainRecord {
    DomainRecord { causation: Some(format!("v-{cause}")), ..record }
}

pub(super) fn files_generated(number: i64, revision: i64, cause: i64, correlation: &str) -> DomainRecord {
    let data = json!({"videoId": "v", "revision": revision, "files": []});
    follows(event("v", number, "video.files_generated", correlation, data), cause)
}

pub(super) fn video() -> Value {
    json!({"title": "a \"title\"", "durationMs": 60_000, "frameRate": 25})
}

pub(super) fn p1() -> Value {
    placement("mug", 40, 1_000)
}

pub(super) fn p2() -> Value {
    with(placement("cup", 480, 1_500), json!({"region": {"x": 0.25, "y": 0, "width": 0.5, "height": 1}}))
}

pub(super) fn p3() -> Value {
    with(placement("none", 2_000, 3_000), json!({"campaignId": 7}))
}

pub(super) fn p4() -> Value {
    placement("mug", 4_000, 5_000)
}

/// A label that WebVTT must escape.
pub(super) fn p1_changed() -> Value {
    with(p1(), json!({"label": "a --> b"}))
}

/// The records of the video.
pub(super) fn records() -> Vec<DomainRecord> {
    let requested = json!({"validationId": "w", "videoId": "v", "revision": 5});
    let completed = with(requested.clone(), json!({"status": "succeeded", "errors": 3, "warnings": 0}));
    let deleted = json!({"placementId": "p2", "videoId": "v", "productId": "cup", "revision": 9});
    vec![
        event("v", 1, "video.created", "c1", with(video(), json!({"videoId": "v", "revision": 1}))),
        event("v", 2, "placement.created", "c2", placed("p1", 2, p1())),
        event("v", 3, "placement.created", "c3", placed("p2", 3, p2())),
        event("v", 4, "placement.created", "c3", placed("p3", 4, p3())),
        event("v", 5, "placement.updated", "c4", placed("p1", 5, p1_changed())),
        event("v", 6, "video.validation_requested", "c5", requested),
        files_generated(7, 5, 5, "c4"),
        follows(event("v", 8, "video.validation_completed", "c5", completed), 6),
        event("v", 9, "placement.deleted", "c6", deleted),
        files_generated(10, 9, 9, "c6"),
        // Nobody knows its answer, and it was done.
        event("v", 11, "placement.created", "c9", placed("p4", 11, p4())),
        files_generated(12, 11, 11, "c9"),
    ]
}

/// The answer's body for a placement.
pub(super) fn body(id: &str, placement: Value) -> Value {
    let nulls = json!({"campaignId": null, "region": null, "label": null});
    with(nulls, with(placement, json!({"id": id, "videoId": "v"})))
}

pub(super) fn tries() -> Vec<Tried> {
    let in_v = || "v".to_owned();
    let place = |body: Value| Ask::Place { video: in_v(), body };
    let change = |version, body| Ask::ChangePlacement { placement: "p1".into(), version, body };
    let many = Ask::PlaceMany { video: in_v(), bodies: vec![p2(), p3()] };
    let made = json!({
        "placements": [with(body("p2", p2()), json!({"version": 3})), with(body("p3", p3()), json!({"version": 4}))],
        "revision": 4
    });
    let many =
        Tried { location: Some("/videos/v/placements".into()), body: made.to_string(), ..tried("c3", 3, many, 201) };
    let first = done("c2", 2, place(p1()), 201, 2, body("p1", p1()));
    let again = Tried { from: at(20), to: at(20), replayed: true, ..first.clone() };
    let another = Ask::CreateVideo { body: video() };
    vec![
        done("c1", 1, Ask::CreateVideo { body: video() }, 201, 1, with(video(), json!({"id": "v", "revision": 1}))),
        tried("c2", 1, place(p1()), 0),
        first,
        many,
        done("c4", 4, change(2, json!({"label": "a --> b"})), 200, 5, body("p1", p1_changed())),
        done("c5", 5, Ask::Validate { video: in_v() }, 202, 0, json!({"id": "w", "revision": 5})),
        tried("c6", 6, Ask::DeletePlacement { placement: "p2".into(), version: 3 }, 204),
        refused("c7", 7, Ask::Place { video: "x".into(), body: p1() }, 404, "video_not_found"),
        tried("c8", 8, Ask::ChangeVideo { video: in_v(), version: 9, body: json!({"title": "u"}) }, 0),
        tried("c9", 9, place(p4()), 0),
        again,
        Tried { reuses: true, ..refused("c2", 21, another, 422, "key_reused") },
        // It makes no difference.
        done("c10", 22, change(5, json!({"label": "a --> b", "region": null})), 200, 5, body("p1", p1_changed())),
    ]
}

pub(super) fn row(id: &str, version: i64, placement: Value, deleted: bool) -> PlacementRow {
    let number = |name: &str| placement[name].as_i64().unwrap();
    PlacementRow {
        id: id.into(),
        video: "v".into(),
        product: placement["productId"].as_str().unwrap().into(),
        campaign: placement["campaignId"].as_i64(),
        start_ms: number("startMs"),
        end_ms: number("endMs"),
        layer: number("layer"),
        region: placement.get("region").cloned(),
        label: placement["label"].as_str().map(Into::into),
        version,
        deleted,
    }
}

/// The files at revision 5.
pub(super) const JSON_5: &str = concat!(
    r#"{"placements":[{"endMs":1000,"id":"p1","label":"a --> b","layer":0,"productId":"mug","startMs":40},"#,
    r#"{"endMs":1500,"id":"p2","layer":0,"productId":"cup","region":{"height":1,"width":0.5,"x":0.25,"y":0},"startMs":480},"#,
    r#"{"campaignId":7,"endMs":3000,"id":"p3","layer":0,"productId":"none","startMs":2000}],"#,
    r#""revision":5,"video":{"durationMs":60000,"frameRate":25,"id":"v","title":"a \"title\""}}"#
);
/// The files at the last revision.
pub(super) const JSON_11: &str = concat!(
    r#"{"placements":[{"endMs":1000,"id":"p1","label":"a --> b","layer":0,"productId":"mug","startMs":40},"#,
    r#"{"campaignId":7,"endMs":3000,"id":"p3","layer":0,"productId":"none","startMs":2000},"#,
    r#"{"endMs":5000,"id":"p4","layer":0,"productId":"mug","startMs":4000}],"#,
    r#""revision":11,"video":{"durationMs":60000,"frameRate":25,"id":"v","title":"a \"title\""}}"#
);
pub(super) const VTT_11: &str = concat!(
    "WEBVTT\n\nNOTE revision 11\n\np1\n00:00:00.040 --> 00:00:01.000\n",
    r#"{"endMs":1000,"id":"p1","label":"a --\u003e b","layer":0,"productId":"mug","startMs":40}"#,
    "\n\np3\n00:00:02.000 --> 00:00:03.000\n",
    r#"{"campaignId":7,"endMs":3000,"id":"p3","layer":0,"productId":"none","startMs":2000}"#,
    "\n\np4\n00:00:04.000 --> 00:00:05.000\n",
    r#"{"endMs":5000,"id":"p4","layer":0,"productId":"mug","startMs":4000}"#,
    "\n\n"
);

pub(super) fn read(kind: &str, at_: u64, revision: i64, content: &str) -> FileRead {
    let (hash, kind) = (sha256(content.as_bytes()), kind.to_owned());
    let (from, to) = (at(at_), at(at_) + Duration::from_millis(10));
    FileRead { video: "v".into(), kind, from, to, revision, etag: hash.clone(), sha256: Some(hash) }
}

pub(super) fn findings() -> Value {
    let finding = |code: &str, ids: &[&str]| json!({"code": code, "severity": "error", "placementIds": ids, "detail": "in words"});
    json!([finding("overlap", &["p1", "p2"]), finding("campaign_ended", &["p3"]), finding("product_missing", &["p3"])])
}

/// Campaign 7, which ends, and the changes of those of advertising.
pub(super) fn of_campaigns(ads: &AdsEnd) -> Vec<DomainRecord> {
    let told = |campaign: i64, revision: i64, status: &str| {
        let kind = match (revision, status) {
            (1, _) => "campaign.created",
            (_, "ended") => "campaign.ended",
            _ => "campaign.updated",
        };
        let data = json!({"campaignId": campaign, "name": "n", "status": status, "revision": revision});
        let record = event(&format!("campaign-{campaign}"), revision, kind, "request", data);
        DomainRecord { partition: i32::try_from(campaign).unwrap(), ..record }
    };
    ads.changes.iter().map(|change| told(change.campaign, change.revision, &change.terms.status)).collect()
}

pub(super) fn taken(subscriber: &str, record: &DomainRecord, second: i64) -> InboxRow {
    InboxRow {
        subscriber: subscriber.into(),
        event: record.id.clone(),
        aggregate: record.key.clone(),
        sequence: record.sequence,
        taken: second * SECOND,
    }
}

pub(super) fn inbox(records: &[DomainRecord]) -> Vec<InboxRow> {
    let mut rows = Vec::new();
    for record in records {
        let is_campaign = record.kind.starts_with("campaign.");
        let is_content =
            record.kind.starts_with("placement.") || matches!(record.kind.as_str(), "video.created" | "video.updated");
        rows.extend((!is_campaign).then(|| taken("read-model", record, 0)));
        rows.extend(is_content.then(|| taken("files", record, 0)));
        let is_asked = is_campaign || record.kind == "video.validation_requested";
        rows.extend(is_asked.then(|| taken("validator", record, 0)));
    }
    rows
}

/// See [`records`] and [`tries`]; and campaigns, a validation of revision 5, files of revisions 5 and 11, reads of them.
pub(crate) fn whole_placements(ads: &AdsEnd) -> (Placements, PlacementsEnd) {
    let seven = |revision, kind: &str, status: &str| {
        let data = json!({"campaignId": 7, "name": "n", "status": status, "revision": revision});
        DomainRecord { partition: 7, ..event("campaign-7", revision, kind, "request", data) }
    };
    let campaigns: Vec<_> = of_campaigns(ads);
    let sevens = [seven(1, "campaign.created", "active"), seven(2, "campaign.ended", "ended")];
    let records: Vec<_> = records().into_iter().chain(sevens).chain(campaigns).collect();
    let number = |aggregate: &str| {
        let last = records.iter().filter(|record| record.key == aggregate).filter_map(|record| record.sequence).max();
        Number { aggregate: aggregate.into(), last: last.unwrap() }
    };
    let keys: BTreeSet<&str> = records.iter().map(|record| record.key.as_str()).collect();
    let known = |key: &&str| {
        let campaign = key.strip_prefix("campaign-")?.parse().ok()?;
        let last = records.iter().filter(|record| record.key == **key).max_by_key(|record| record.sequence)?;
        let (status, sequence) = (last.data["status"].as_str()?.to_owned(), last.sequence?);
        Some(KnownCampaign { campaign, status, sequence })
    };
    let (json, vtt) = (sha256(JSON_11.as_bytes()), sha256(VTT_11.as_bytes()));
    let file = |kind: &str, sha256: &str, content: &str| FileRow {
        video: "v".into(),
        kind: kind.into(),
        revision: 11,
        sha256: sha256.into(),
        bytes: i64::try_from(content.len()).unwrap(),
    };
    let object = |sha256: &str, content: &str| Object { sha256: sha256.into(), content: content.into() };
    let end = PlacementsEnd {
        videos: vec![VideoRow {
            id: "v".into(),
            title: "a \"title\"".into(),
            duration_ms: 60_000,
            frame_rate: Some(25_000),
            revision: 11,
            ready_revision: 11,
            version: 12,
            placements: 3,
        }],
        placements: vec![
            row("p1", 5, p1_changed(), false),
            row("p2", 9, p2(), true),
            row("p3", 4, p3(), false),
            row("p4", 11, p4(), false),
        ],
        products: ["mug", "cup"].map(|id| ProductRow { id: id.into(), active: true }).into(),
        validations: vec![ValidationRow {
            id: "w".into(),
            video: "v".into(),
            status: "succeeded".into(),
            revision: 5,
            version: 16,
            findings: Some(findings()),
            requested: 100 * SECOND,
            finished: Some(101 * SECOND),
        }],
        files: vec![file("json", &json, JSON_11), file("vtt", &vtt, VTT_11)],
        objects: vec![object(&json, JSON_11), object(&vtt, VTT_11)],
        campaigns: keys.iter().filter_map(known).collect(),
        numbers: keys.iter().map(|key| number(key)).collect(),
        outbox: vec![],
        inbox: inbox(&records),
        records,
        letters: vec![],
        left: vec![],
    };
    let observed = Placements {
        tries: tries(),
        files: vec![
            read("json", 6, 5, JSON_5),
            FileRead { sha256: None, ..read("json", 7, 5, JSON_5) },
            read("vtt", 30, 11, VTT_11),
            read("json", 30, 11, JSON_11),
        ],
        videos: vec![VideoRead {
            video: "v".into(),
            from: at(30),
            to: at(30),
            revision: 9,
            ready_revision: 5,
            title: "a \"title\"".into(),
            duration_ms: 60_000,
            placements: 2,
        }],
        validations: vec![
            ValidationRead {
                validation: "w".into(),
                from: at(6),
                to: at(6),
                status: "running".into(),
                revision: 5,
                findings: None,
            },
            ValidationRead {
                validation: "w".into(),
                from: at(31),
                to: at(31),
                status: "succeeded".into(),
                revision: 5,
                findings: Some(findings()),
            },
        ],
        restored: vec![],
    };
    (observed, end)
}
