//! Bodies that create a campaign.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use time::macros::datetime;

use super::*;
use crate::ads::samples;

fn parse(body: &str) -> Result<Terms, BodyError> {
    Terms::parse(&Bytes::copy_from_slice(body.as_bytes()))
}

fn faults(body: &str) -> Vec<Fault> {
    match parse(body) {
        Err(BodyError::NotAnEvent(faults)) => faults,
        other => panic!("{body}: {other:?}"),
    }
}

/// The least body, with more members.
fn with(more: &str) -> String {
    format!(r#"{{"name":"demo","pricing_model":"cpm","unit_price":"10","total_budget":"5",{more}}}"#)
}

#[test]
fn the_least_campaign_has_the_defaults() {
    let terms = parse(r#"{"name":"demo","pricing_model":"cpc","unit_price":0,"total_budget":"0.000001"}"#).unwrap();
    let expected = Terms {
        external_id: None,
        name: "demo".into(),
        pricing_model: PricingModel::Cpc,
        unit_price: Nanos::ZERO,
        currency: "USD".into(),
        total_budget: Nanos::new(1_000),
        daily_budget: None,
        cap: None,
        timezone: "UTC".into(),
        starts_at: None,
        ends_at: None,
        status: Status::Active,
        pacing: Pacing::Asap,
        on_exhausted: OnExhausted::Refuse,
        cap_unsure: CapUnsure::Refuse,
        rules: Rules::default(),
    };
    assert_eq!(terms, expected);
}

#[test]
fn the_campaign_of_the_walk() {
    let body = r#"{"name":"demo","pricing_model":"cpm","unit_price":"10","total_budget":"5","daily_budget":"1",
        "freq_cap_impressions_per_day":2}"#;
    let terms = parse(body).unwrap();
    assert_eq!((terms.cap, terms.daily_budget), (Some(2), Some(Nanos::new(1_000_000_000))));
    assert_eq!(terms.cost(AdEventType::Impression).to_string(), "0.01");
}

#[test]
fn the_whole_campaign() {
    let body = with(
        r#""external_id":"a.b_c:D-1","currency":"EUR","daily_budget":5.0,"freq_cap_impressions_per_day":1000000,
        "timezone":"America/Argentina/Buenos_Aires","starts_at":"2026-01-02T03:04:05.1234567+01:00",
        "ends_at":"2026-01-03 00:00:00Z","status":"draft","pacing":"even","on_exhausted":"record",
        "cap_unsure":"allow","click_requires_impression":true,"duplicate_click_window_seconds":1,
        "conversion_window_seconds":31536000,"user_events_per_minute":60,"blocked_user_agents":["bot","Gr\u00fc\u00dfe"]"#,
    );
    let terms = parse(&body).unwrap();
    assert_eq!(terms.external_id.as_deref(), Some("a.b_c:D-1"));
    assert_eq!((&*terms.currency, &*terms.timezone), ("EUR", "America/Argentina/Buenos_Aires"));
    // PostgreSQL stores microseconds: a fraction of one must not make the end later than the start.
    assert_eq!(terms.starts_at, Some(datetime!(2026-01-02 02:04:05.123456 UTC)));
    assert_eq!(terms.ends_at, Some(datetime!(2026-01-03 00:00 UTC)));
    assert_eq!((terms.status, terms.pacing), (Status::Draft, Pacing::Even));
    assert_eq!((terms.on_exhausted, terms.cap_unsure), (OnExhausted::Record, CapUnsure::Allow));
    let rules = Rules {
        click_requires_impression: true,
        duplicate_click_window: Some(1),
        conversion_window: Some(31_536_000),
        user_events_per_minute: Some(60),
        blocked_user_agents: vec!["bot".into(), "Grüße".into()],
    };
    assert_eq!(terms.rules, rules);
    assert_eq!(parse(&terms.to_json().to_string()), Ok(terms));
}

#[test]
fn what_may_be_absent_may_be_null() {
    let least = parse(&with(r#""status":null"#)).unwrap();
    let optional = MEMBERS.iter().filter(|member| member.absent.is_some());
    let nulls: Vec<_> = optional.map(|member| format!("{:?}:null", member.name)).collect();
    assert_eq!(nulls.len(), 16);
    assert_eq!(parse(&with(&nulls.join(","))), Ok(least));
}

#[test]
fn each_fault_with_its_pointer() {
    let (name, text) = ("n".repeat(201), "t".repeat(65));
    let agents = format!(r#""blocked_user_agents":[{}]"#, vec![r#""a""#; 101].join(","));
    let cases = [
        (r#""name":"""#, "/name", "must be 1 to 200 characters long"),
        (&format!(r#""name":"{name}""#), "/name", "must be 1 to 200 characters long"),
        (r#""name":"a\u0000""#, "/name", "must not contain control characters"),
        (r#""name":"a\nb""#, "/name", "must not contain control characters"),
        (r#""name":7"#, "/name", "must be a string"),
        (r#""name":null"#, "/name", "must be a string"),
        (r#""name":"\ud800""#, "/name", "contains a lone surrogate"),
        (r#""pricing_model":"cpx""#, "/pricing_model", "must be one of cpm, cpc, cpa"),
        (r#""pricing_model":"CPM""#, "/pricing_model", "must be one of cpm, cpc, cpa"),
        (r#""pricing_model":null"#, "/pricing_model", "must be a string"),
        (r#""unit_price":-1"#, "/unit_price", "must be a decimal number without a sign"),
        (r#""unit_price":"-0.5""#, "/unit_price", "must be a decimal number without a sign"),
        (r#""unit_price":1e3"#, "/unit_price", "must be a decimal number without an exponent"),
        (r#""unit_price":"1e3""#, "/unit_price", "must be a decimal number without an exponent"),
        (r#""unit_price":0.0000001"#, "/unit_price", "must have at most 6 decimals"),
        (r#""unit_price":"1000000000""#, "/unit_price", "must have at most 9 digits before the decimal point"),
        (r#""unit_price":"NaN""#, "/unit_price", "must be a decimal number such as 12.5, in digits alone"),
        (r#""unit_price":null"#, "/unit_price", "must be a decimal number, as a JSON string or a JSON number"),
        (r#""total_budget":0"#, "/total_budget", "must be greater than 0"),
        (r#""total_budget":"0.000""#, "/total_budget", "must be greater than 0"),
        (r#""total_budget":"Infinity""#, "/total_budget", "must be a decimal number such as 12.5, in digits alone"),
        (r#""daily_budget":"5.000001""#, "/daily_budget", "must not be greater than total_budget"),
        (r#""daily_budget":"x""#, "/daily_budget", "must be a decimal number such as 12.5, in digits alone"),
        (r#""freq_cap_impressions_per_day":0"#, CAP, "must be a whole number from 1 to 1000000"),
        (r#""freq_cap_impressions_per_day":1000001"#, CAP, "must be a whole number from 1 to 1000000"),
        (r#""freq_cap_impressions_per_day":2.0"#, CAP, "must be a whole number from 1 to 1000000"),
        (r#""freq_cap_impressions_per_day":"2""#, CAP, "must be a whole number from 1 to 1000000"),
        (r#""timezone":"""#, "/timezone", ZONE),
        (r#""timezone":"/etc/passwd""#, "/timezone", ZONE),
        (r#""timezone":"Europe/../Berlin""#, "/timezone", ZONE),
        (r#""timezone":"+01:00""#, "/timezone", ZONE),
        (r#""timezone":"Europe/Berlin'""#, "/timezone", ZONE),
        (&format!(r#""timezone":"{text}""#), "/timezone", ZONE),
        (r#""currency":"usd""#, "/currency", "must be three capital letters (ISO 4217)"),
        (r#""currency":"USDT""#, "/currency", "must be three capital letters (ISO 4217)"),
        (r#""currency":"\u20ac""#, "/currency", "must be three capital letters (ISO 4217)"),
        (r#""starts_at":"2026-01-02""#, "/starts_at", TIME),
        (r#""ends_at":"soon""#, "/ends_at", TIME),
        (r#""ends_at":1767225600"#, "/ends_at", "must be a string"),
        (r#""starts_at":"2026-01-02T00:00:00Z","ends_at":"2026-01-02T01:00:00+01:00""#, "/ends_at", LATER),
        (r#""starts_at":"2026-01-02T00:00:00.0000001Z","ends_at":"2026-01-02T00:00:00.0000009Z""#, "/ends_at", LATER),
        (r#""status":"ended""#, "/status", "must be draft, active or paused in a new campaign"),
        (r#""status":"running""#, "/status", "must be one of draft, active, paused, ended"),
        (r#""pacing":"even""#, "/pacing", EVEN),
        (r#""pacing":"even","daily_budget":null"#, "/pacing", EVEN),
        (r#""pacing":"fast""#, "/pacing", "must be one of asap, even"),
        (r#""on_exhausted":"bill""#, "/on_exhausted", "must be one of refuse, record"),
        (r#""cap_unsure":true"#, "/cap_unsure", "must be a string"),
        (r#""cap_unsure":"deny""#, "/cap_unsure", "must be one of refuse, allow"),
        (r#""click_requires_impression":1"#, "/click_requires_impression", "must be true or false"),
        (r#""click_requires_impression":"true""#, "/click_requires_impression", "must be true or false"),
        (r#""duplicate_click_window_seconds":0"#, "/duplicate_click_window_seconds", YEAR),
        (r#""conversion_window_seconds":31536001"#, "/conversion_window_seconds", YEAR),
        (r#""conversion_window_seconds":"1h""#, "/conversion_window_seconds", YEAR),
        (r#""user_events_per_minute":-1"#, "/user_events_per_minute", "must be a whole number from 1 to 1000000"),
        (r#""blocked_user_agents":"bot""#, "/blocked_user_agents", "must be an array of strings"),
        (&agents, "/blocked_user_agents", "must have at most 100 items"),
        (r#""blocked_user_agents":["a",""]"#, "/blocked_user_agents/1", "must be 1 to 200 characters long"),
        (r#""blocked_user_agents":[null]"#, "/blocked_user_agents/0", "must be a string"),
        (r#""blocked_user_agents":["\u0007"]"#, "/blocked_user_agents/0", "must not contain control characters"),
        (r#""external_id":"""#, "/external_id", "must be 1 to 64 characters long"),
        (&format!(r#""external_id":"{text}""#), "/external_id", "must be 1 to 64 characters long"),
        (r#""external_id":"a/b""#, "/external_id", "may contain only A-Z a-z 0-9 . _ : -"),
        (r#""id":1"#, "/id", "is read-only"),
        (r#""spent":"0""#, "/spent", "is read-only"),
        (r#""cap":2"#, "/cap", "is not a field of a campaign"),
        (r#""a/b":2"#, "/a~1b", "is not a field of a campaign"),
        (r#""\ud800":2"#, "", "has a key that contains a lone surrogate"),
    ];
    for (member, pointer, detail) in cases {
        let required = ["name", "pricing_model", "unit_price", "total_budget"];
        let given = required.into_iter().filter(|name| !member.starts_with(&format!("{name:?}")));
        let given = given.map(|name| match name {
            "name" => r#""name":"demo""#,
            "pricing_model" => r#""pricing_model":"cpm""#,
            "unit_price" => r#""unit_price":"10""#,
            _ => r#""total_budget":"5""#,
        });
        let body = format!("{{{}}}", given.chain([member]).collect::<Vec<_>>().join(","));
        assert_eq!(faults(&body), [Fault { pointer: pointer.into(), detail: detail.into() }], "{body}");
    }
}

const CAP: &str = "/freq_cap_impressions_per_day";
const ZONE: &str = "must be the IANA name of a time zone, such as Europe/Berlin, of at most 64 characters";
const TIME: &str = "must be a date and time of RFC 3339, in the years 1 to 9999";
const LATER: &str = "must be later than starts_at";
const EVEN: &str = "cannot be even without a daily_budget, which is what it spreads over the day";
const YEAR: &str = "must be a whole number from 1 to 31536000";

#[test]
fn all_faults_in_one_answer() {
    let pointers = |body: &str| faults(body).into_iter().map(|fault| fault.pointer).collect::<Vec<_>>();
    assert_eq!(pointers("{}"), ["/name", "/pricing_model", "/unit_price", "/total_budget"]);
    assert_eq!(pointers("[]"), [""]);
    let body = r#"{"nmae":"x","pricing_model":"x","unit_price":"-1","total_budget":"1","daily_budget":"2",
        "starts_at":"2026-01-02T00:00:00Z","ends_at":"2026-01-01T00:00:00Z","status":"ended",
        "blocked_user_agents":["",7]}"#;
    let all = [
        "/nmae",
        "/name",
        "/pricing_model",
        "/unit_price",
        "/blocked_user_agents/0",
        "/blocked_user_agents/1",
        "/status",
        "/daily_budget",
        "/ends_at",
    ];
    assert_eq!(pointers(body), all);
    // What could not be read has no fault beside that.
    let body = r#"{"name":"x","pricing_model":"cpm","unit_price":"1","total_budget":"-1","daily_budget":"2"}"#;
    assert_eq!(pointers(body), ["/total_budget"]);
    let body = r#"{"name":"x","pricing_model":"cpm","unit_price":"1","total_budget":"1","daily_budget":"x","pacing":"even",
        "starts_at":"2026-01-02T00:00:00Z","ends_at":"2026-01-01"}"#;
    assert_eq!(pointers(body), ["/daily_budget", "/ends_at"]);
    for bad in ["", "{", "{'name':1}", "NaN", r#"{"unit_price":NaN}"#, r#"{"unit_price":01}"#] {
        assert!(matches!(parse(bad), Err(BodyError::NotJson(_))), "{bad}");
    }
}

/// Of any two members that are wrong, both are reported.
#[test]
fn any_two_faults_in_one_answer() {
    for pair in samples::pairs_of_faults(&[]) {
        let mut body = samples::campaign().to_json();
        for ((name, value), _) in pair {
            body[name] = serde_json::from_str(value).unwrap();
        }
        let mut found: Vec<_> = faults(&body.to_string()).into_iter().map(|fault| fault.pointer).collect();
        let mut expected = pair.map(|(_, pointer)| pointer);
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn a_member_is_there_once() {
    let whole = samples::campaign().to_json();
    for member in &MEMBERS {
        let value = &whole[member.name];
        let body = format!(r#"{},"{}":{value}}}"#, whole.to_string().trim_end_matches('}'), member.name);
        let fault = Fault { pointer: format!("/{}", member.name), detail: "is there more than once".into() };
        assert_eq!(faults(&body), [fault]);
    }
}

#[test]
fn json_has_the_members_that_are_read() {
    let json = samples::campaign().to_json();
    let written: BTreeSet<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(written, MEMBERS.iter().map(|member| member.name).collect());
}

#[test]
fn only_what_is_paid_for_has_a_cost() {
    use AdEventType::{Click, Conversion, Impression};
    for (pricing_model, costs) in [
        (PricingModel::Cpm, ["0.001234567", "0", "0"]),
        (PricingModel::Cpc, ["0", "1.234567", "0"]),
        (PricingModel::Cpa, ["0", "0", "1.234567"]),
    ] {
        let terms = Terms { pricing_model, unit_price: "1.234567".parse().unwrap(), ..samples::campaign() };
        assert_eq!([Impression, Click, Conversion].map(|of| terms.cost(of).to_string()), costs);
    }
}

proptest! {
    #[test]
    fn terms_come_back_from_their_json(terms in samples::terms()) {
        prop_assert_eq!(parse(&terms.to_json().to_string()), Ok(terms));
    }

    #[test]
    fn a_thousand_impressions_cost_the_price(terms in samples::terms()) {
        let cost = Terms { pricing_model: PricingModel::Cpm, ..terms.clone() }.cost(AdEventType::Impression);
        prop_assert_eq!(cost.get() * 1_000, terms.unit_price.get());
    }

    #[test]
    fn a_body_has_terms_that_come_back_or_faults(
        members in prop::collection::vec((0..MEMBERS.len(), select(VALUES.split_whitespace().collect::<Vec<_>>())), 1..4),
    ) {
        let members = members.iter().map(|(index, value)| format!("{:?}:{value}", MEMBERS[*index].name));
        match parse(&with(&members.collect::<Vec<_>>().join(","))) {
            Ok(terms) => prop_assert_eq!(parse(&terms.to_json().to_string()), Ok(terms)),
            Err(BodyError::NotAnEvent(faults)) => prop_assert!((1..=8).contains(&faults.len())),
            Err(BodyError::NotJson(why)) => prop_assert!(false, "{}", why),
        }
    }
}

/// Values that one member or another takes.
const VALUES: &str = r#"null true 0 1 1.5 1e3 -1 99999999999999999999 "" "1.5" "UTC" "EUR" "even" "draft" "refuse" "allow" [] {}
    ["bot"] [1] "2026-01-02T03:04:05.123456789+01:00" "\ud800" "\u0000""#;
