//! Ad events as clients submit them, and as records contain them.

use bytes::Bytes;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use time::macros::datetime;

use super::submission::SubmittedAdType;
use super::*;
use crate::ads::published::OF_ADS;
use crate::ads::{AdStream, samples};
use crate::kafka::cloud_events::{self, Submitted};
use crate::kafka::{self, Reason, Record, Stream as _, headers};

fn read(body: &str) -> Result<AdSubmission, BodyError> {
    AdSubmission::parse_value(serde_json::from_str(body).unwrap())
}

fn listed<T: std::fmt::Debug>(outcome: Result<T, BodyError>) -> Vec<String> {
    match outcome {
        Err(BodyError::NotAnEvent(faults)) => {
            faults.into_iter().map(|Fault { pointer, detail }| format!("{pointer} {detail}")).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_least_event() {
    for campaign in ["1", r#""1""#] {
        let event = read(&format!(r#"{{"campaign_id":{campaign},"user_id":"u1","event_type":"impression"}}"#)).unwrap();
        assert_eq!((event.campaign.get(), event.user.as_str()), (1, "u1"));
        assert_eq!((event.event_type, event.event_id, event.occurred_at), (AdEventType::Impression, None, None));
        assert_eq!(event.data, AdData::default());
    }
}

#[test]
fn the_whole_event() {
    let body = r#"{"campaign_id":9223372036854775807,"user_id":"a user","event_type":"conversion","event_id":"c1",
        "occurred_at":"2026-01-02T03:04:05Z","value":19.99,"impression_id":"i1","click_id":"k1","user_agent":"Mözilla"}"#;
    let event = read(body).unwrap();
    assert_eq!(event.event_id, Some("c1".parse().unwrap()));
    assert_eq!(event.occurred_at, Some(datetime!(2026-01-02 03:04:05 UTC)));
    let AdData { value, impression_id, click_id, user_agent } = event.data;
    assert_eq!(value.unwrap().to_string(), "19.99");
    assert_eq!((impression_id.unwrap().as_str(), click_id.unwrap().as_str()), ("i1", "k1"));
    assert_eq!(user_agent.as_deref(), Some("Mözilla"));
    let nulls = r#"{"campaign_id":1,"user_id":"u","event_type":"click","event_id":null,"occurred_at":null,"value":null,
        "impression_id":null,"click_id":null,"user_agent":null}"#;
    assert_eq!(read(nulls).unwrap().data, AdData::default());
}

const CAMPAIGN: &str = "must be a whole number from 1 to 9223372036854775807, without leading zeros";

#[test]
fn every_fault_with_its_pointer() {
    let required = ["/campaign_id is required", "/user_id is required", "/event_type is required"];
    assert_eq!(listed(read("{}")), required);
    assert_eq!(listed(read("[]")), [" must be a JSON object"]);
    let device = r#"{"device_id":"d","payload":{}}"#;
    let elsewhere = "is not a field of an ad event; events of devices go to /events, batches of them to /events/batch";
    let both = ["device_id", "payload"].map(|name| format!("/{name} {elsewhere}"));
    assert_eq!(listed(read(device)), [&both[..], &required.map(str::to_owned)].concat());
    let agent = "a".repeat(513);
    let cases = [
        (r#""campaign_id":0"#, format!("/campaign_id {CAMPAIGN}")),
        (r#""campaign_id":1.0"#, format!("/campaign_id {CAMPAIGN}")),
        (r#""campaign_id":"01""#, format!("/campaign_id {CAMPAIGN}")),
        (r#""campaign_id":null"#, format!("/campaign_id {CAMPAIGN}")),
        (r#""user_id":" u""#, "/user_id must not begin or end with a blank".into()),
        (r#""user_id":7"#, "/user_id must be a string".into()),
        (r#""event_type":"view""#, "/event_type must be one of impression, click, conversion".into()),
        (r#""event_type":"io.edge.ad.click.v1""#, "/event_type must be one of impression, click, conversion".into()),
        (r#""event_id":"a b""#, "/event_id may contain only A-Z a-z 0-9 . _ : -".into()),
        (r#""occurred_at":"now""#, "/occurred_at must be a date and time of RFC 3339, in the years 1 to 9999".into()),
        (r#""value":1"#, "/value is only for conversions".into()),
        (r#""value":1e1"#, "/value must be a decimal number without an exponent".into()),
        (r#""impression_id":"""#, "/impression_id must be 1 to 64 characters long".into()),
        (r#""click_id":7"#, "/click_id must be a string".into()),
        (&format!(r#""user_agent":"{agent}""#), "/user_agent must be at most 512 characters long".into()),
        (r#""user_agent":"a\tb""#, "/user_agent must not contain control characters".into()),
        (r#""cost":1"#, "/cost is not a field of an ad event".into()),
        (r#""user_agent":"a","user_agent":"a""#, "/user_agent is there more than once".into()),
    ];
    for (member, fault) in cases {
        let required = [("campaign_id", "1"), ("user_id", r#""u""#), ("event_type", r#""click""#)];
        let given = required.into_iter().map(|(name, value)| format!("{name:?}:{value}"));
        let name = member.split(':').next().unwrap();
        let given = given.filter(|one| !one.starts_with(name)).chain([member.to_owned()]);
        let body = format!("{{{}}}", given.collect::<Vec<_>>().join(","));
        assert_eq!(listed(read(&body)), [fault], "{body}");
    }
    let many = r#"{"campaign_id":0,"user_id":"","event_type":"x","event_id":"","value":-1,"click_id":"","y":1}"#;
    assert_eq!(listed(read(many)).len(), 7);
}

fn cloud_event(of: &str, subject: &str, data: &serde_json::Value) -> Result<AdSubmission, BodyError> {
    let event = json!({"specversion": "1.0", "type": format!("io.edge.ad.{of}.v1"), "source": "/x", "id": "e1",
        "subject": subject, "time": "2026-01-02T03:04:05Z", "data": data});
    let body = Bytes::from(event.to_string());
    let event: Submitted<SubmittedAdType, AdSubject> =
        cloud_events::structured(&body, serde_json::from_slice(&body).unwrap())?;
    AdSubmission::of_cloud_event(event)
}

#[test]
fn the_type_of_a_devices_event_is_told_its_path() {
    let told = |text: &str| text.parse::<SubmittedAdType>().unwrap_err();
    let accepted = "accepted: io.edge.ad.impression.v1, io.edge.ad.click.v1, io.edge.ad.conversion.v1";
    assert_eq!(
        told("io.edge.device.reported.v1"),
        format!(
            "unknown event type \"io.edge.device.reported.v1\"; {accepted}; events of devices go to /events, batches of \
             them to /events/batch"
        )
    );
    assert_eq!(told("other"), format!("unknown event type \"other\"; {accepted}"));
}

#[test]
fn a_cloud_event_is_about_a_campaign_and_a_user() {
    let event = cloud_event("conversion", "7:a:b", &json!({"value": "1.5", "campaign_id": 7})).unwrap();
    assert_eq!((event.campaign.get(), event.user.as_str(), event.event_type), (7, "a:b", AdEventType::Conversion));
    assert_eq!((event.event_id, event.occurred_at), ("e1".parse().ok(), Some(datetime!(2026-01-02 03:04:05 UTC))));
    assert_eq!(event.data.value, Some("1.5".parse().unwrap()));
    let same = json!({"campaign_id": "7", "user_id": "u", "event_type": "click"});
    assert_eq!(cloud_event("click", "7:u", &same).unwrap().data, AdData::default());
    let other = json!({"campaign_id": 8, "user_id": "v", "event_type": "impression", "value": 1, "event_id": "x",
        "occurred_at": null, "payload": {}});
    let faults = [
        "/data/event_id must be the CloudEvent's id instead",
        "/data/occurred_at must be the CloudEvent's time instead",
        "/data/payload is not a field of an ad event; events of devices go to /events, batches of them to /events/batch",
        "/data/campaign_id must be the campaign of the CloudEvent's subject",
        "/data/user_id must be the user of the CloudEvent's subject",
        "/data/event_type must be the CloudEvent's type",
        "/data/value is only for conversions",
    ];
    assert_eq!(listed(cloud_event("click", "7:u", &other)), faults);
    let subject = "/subject must be the id of a campaign, a colon, and the id of a user";
    assert_eq!(listed(cloud_event("click", "u", &json!({}))), [subject]);
}

fn event() -> AdEvent {
    AdEvent {
        campaign: "1".parse().unwrap(),
        user: "u1".parse().unwrap(),
        event_type: AdEventType::Impression,
        lease: Some("lease-1".into()),
        day: date!(2026 - 01 - 02),
        cost: Nanos::new(1),
        data: AdData::default(),
    }
}

fn outgoing(event: &AdEvent) -> Outgoing {
    let (accepted_at, occurred_at) = (datetime!(2026-01-02 03:04:06 UTC), datetime!(2026-01-02 03:04:05 UTC));
    event.outgoing("e1".parse().unwrap(), accepted_at, occurred_at)
}

fn record(key: &str, value: &[u8], headers: &[(String, String)]) -> Record {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))).collect();
    Record::new(Some(key.as_bytes()), Some(value), &headers)
}

fn decoded(record: &Record) -> Result<AdEvent, Refusal> {
    AdEvent::decode(&kafka::decode(record, &AdStream::SPEC)?.0)
}

#[test]
fn the_record_of_an_event() {
    let Outgoing { envelope, source } = outgoing(&event());
    assert_eq!((envelope.event_type, envelope.id.as_str()), ("io.edge.ad.impression.v1", "e1"));
    assert_eq!((envelope.key.as_str(), envelope.subject.as_str(), &*source), ("1:u1", "1:u1", "/campaigns/1"));
    assert_eq!(envelope.data, r#"{"campaign_id":1,"user_id":"u1","event_type":"impression"}"#);
    let extensions = [("grantid", "lease-1"), ("adday", "2026-01-02"), ("cost", "0.000000001")];
    assert_eq!(envelope.extensions, extensions.map(|(name, value)| (name, value.to_owned())));
    let free = outgoing(&AdEvent { lease: None, cost: Nanos::ZERO, ..event() }).envelope;
    assert_eq!((free.extension("grantid"), free.extension("cost")), (None, Some("0")));
}

#[test]
fn a_record_that_is_no_event_is_refused() {
    let all = headers(&outgoing(&event()));
    let good = br#"{"new":[1],"campaign_id":1}"#;
    let read = |key: &str, value: &[u8], name: &str, text: Option<&str>| {
        let mut headers = all.clone();
        headers.retain(|(other, _)| other != name);
        headers.extend(text.map(|text| (name.to_owned(), text.to_owned())));
        decoded(&record(key, value, &headers))
    };
    assert_eq!(read("1:u1", good, "x", None), Ok(event()), "members that are not known yet are ignored");
    let day = "adday: must be a date such as 2026-11-30";
    let cases = [
        ("1:u1", &good[..], "ce_adday", None, "adday is missing"),
        ("1:u1", good, "ce_adday", Some("today"), day),
        ("1:u1", good, "ce_adday", Some("2026-02-29"), day),
        ("1:u1", good, "ce_adday", Some("+2026-01-02"), day),
        ("1:u1", good, "ce_adday", Some("0000-01-02"), day),
        ("1:u1", good, "ce_adday", Some("2026-1-2"), day),
        ("1:u1", good, "ce_adday", Some("2026-01-02T00:00:00Z"), day),
        ("1:u1", good, "ce_cost", None, "cost is missing"),
        ("1:u1", good, "ce_cost", Some("1e1"), "cost: must be a decimal number without an exponent"),
        ("1:u1", good, "ce_cost", Some("-1"), "cost: must be a decimal number without a sign"),
        ("1:u1", good, "ce_cost", Some("0.0000000001"), "cost: must have at most 9 decimals"),
        ("1:u1", good, "ce_grantid", Some(""), "grantid: must be 1 to 64 characters long"),
        ("1:u1", good, "ce_grantid", Some("a b"), "grantid: may contain only A-Z a-z 0-9 . _ : -"),
        ("u1", good, "ce_subject", Some("u1"), "subject: must be the id of a campaign, a colon, and the id of a user"),
        ("2:u1", good, "x", None, "the key is not the subject"),
        ("1:u1", b"[]", "x", None, "the data must be a JSON object"),
        ("1:u1", b"7", "x", None, "the data must be a JSON object"),
        (
            "1:u1",
            br#"{"user_id":"u2"}"#,
            "x",
            None,
            "/user_id of the data must be the user of the CloudEvent's subject",
        ),
        ("1:u1", br#"{"value":1}"#, "x", None, "/value of the data is only for conversions"),
        (
            "1:u1",
            br#"{"click_id":"secret text"}"#,
            "x",
            None,
            "/click_id of the data may contain only A-Z a-z 0-9 . _ : -",
        ),
    ];
    for (key, value, name, text, why) in cases {
        assert_eq!(read(key, value, name, text), Err(Refusal::undecodable(why)), "{name}: {text:?}");
    }
    let later = read("1:u1", good, "ce_type", Some("io.edge.ad.view.v1")).unwrap_err();
    assert_eq!(later.reason, Reason::UnknownType);
}

#[test]
fn the_event_of_a_probe_is_of_nobody() {
    let probe = AdDelivery::probe_event(100, AdEvent::of_nobody);
    assert_eq!(probe.envelope.event_type, probe.event.event_type.as_str());
    assert!(probe.event.user.as_str().parse::<UserId>().is_err(), "no client can name this user");
    assert!(CampaignId::try_from(probe.event.campaign.get()).is_err(), "no campaign has this id");
    assert_ne!(probe.event.user, AdDelivery::probe_event(100, AdEvent::of_nobody).event.user);
}

fn events() -> impl Strategy<Value = AdEvent> {
    let id = || option::of("[A-Za-z0-9._:-]{1,64}".prop_map(|text| text.parse().unwrap()));
    let data = (samples::money(0), any::<bool>(), id(), id(), option::of("[ -~\u{e9}]{0,40}"));
    let types = select(vec![AdEventType::Impression, AdEventType::Click, AdEventType::Conversion]);
    let lease = option::of("[a-z0-9-]{1,36}");
    let day = (0..3_000_000_i32).prop_map(|day| Date::from_julian_day(1_721_426 + day).unwrap());
    (1..=i64::MAX, "[!-~]{1,128}", types, lease, day, 0..1_000_000_000_000_000_000_i64, data)
        .prop_filter("a user", |(_, user, ..)| user.parse::<UserId>().is_ok())
        .prop_map(|(campaign, user, event_type, lease, day, cost, data)| {
            let (value, has_value, impression_id, click_id, user_agent) = data;
            let value = (event_type == AdEventType::Conversion && has_value).then_some(value);
            let data = AdData { value, impression_id, click_id, user_agent };
            let campaign = CampaignId::try_from(campaign).unwrap();
            AdEvent { campaign, user: user.parse().unwrap(), event_type, lease, day, cost: Nanos::new(cost), data }
        })
}

proptest! {
    #[test]
    fn what_the_api_writes_comes_back(event in events()) {
        let outgoing = outgoing(&event);
        let record = record(event.key().as_str(), &outgoing.envelope.data, &headers(&outgoing));
        let (envelope, _) = kafka::decode(&record, &AdStream::SPEC).unwrap();
        prop_assert_eq!(&envelope, &outgoing.envelope);
        prop_assert_eq!(AdEvent::decode(&envelope), Ok(event.clone()));
        let schema = OF_ADS.schemas.iter().find(|schema| schema.event_type == envelope.event_type).unwrap();
        prop_assert_eq!(schema.check(std::str::from_utf8(&envelope.data).unwrap()), Ok(()));
        // Consumers read the value alone.
        let value = AdSubmission::parse_value(serde_json::from_slice(&envelope.data).unwrap()).unwrap();
        prop_assert_eq!((value.campaign, value.user, value.data), (event.campaign, event.user, event.data));
    }
}
