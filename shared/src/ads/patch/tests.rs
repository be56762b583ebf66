//! Patches, against RFC 7396.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::ads::{Pacing, samples};

fn parse(body: &str) -> Result<Patch, BodyError> {
    Patch::parse(&Bytes::copy_from_slice(body.as_bytes()))
}

fn changed(terms: &Terms, body: &Value) -> Result<Terms, Vec<Fault>> {
    let (changed, faults) = parse(&body.to_string()).unwrap().apply(terms);
    if faults.is_empty() { Ok(changed) } else { Err(faults) }
}

fn pointers(faults: Vec<Fault>) -> Vec<String> {
    faults.into_iter().map(|fault| fault.pointer).collect()
}

#[test]
fn a_patch_changes_what_it_names() {
    let terms = samples::campaign();
    assert_eq!(changed(&terms, &json!({})), Ok(terms.clone()));
    let after = changed(&terms, &json!({"name": "b", "daily_budget": 1, "freq_cap_impressions_per_day": 3})).unwrap();
    let daily_budget = Some("1".parse().unwrap());
    assert_eq!(after, Terms { name: "b".into(), daily_budget, cap: Some(3), ..terms.clone() });
    let removed = changed(&after, &json!({"daily_budget": null, "freq_cap_impressions_per_day": null})).unwrap();
    assert_eq!(removed, Terms { name: "b".into(), ..terms });
}

#[test]
fn what_is_removed_has_its_default() {
    let terms = Terms { daily_budget: Some("4".parse().unwrap()), ..samples::campaign() };
    let other = json!({"timezone": "Europe/Berlin", "pacing": "even", "on_exhausted": "record", "cap_unsure": "allow",
        "click_requires_impression": true, "blocked_user_agents": ["bot"], "conversion_window_seconds": 5});
    let after = changed(&terms, &other).unwrap();
    assert_ne!(after, terms);
    let nulls: Map<_, _> = other.as_object().unwrap().keys().map(|name| (name.clone(), Value::Null)).collect();
    assert_eq!(changed(&after, &nulls.into()), Ok(terms));
}

#[test]
fn every_fault_with_its_pointer() {
    let body = json!({
        "external_id": "x", "pricing_model": "cpm", "currency": null, "name": null, "unit_price": null,
        "total_budget": null, "status": null, "pacing": "fast", "blocked_user_agents": [""], "spent": "0", "x": 1,
    });
    let faults = changed(&samples::campaign(), &body).unwrap_err();
    let faults: Vec<_> = faults.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect();
    let expected = [
        "/spent is read-only",
        "/x is not a field of a campaign",
        "/external_id cannot be changed",
        "/name cannot be removed",
        "/pricing_model cannot be changed",
        "/unit_price cannot be removed",
        "/currency cannot be changed",
        "/total_budget cannot be removed",
        "/status cannot be removed",
        "/pacing must be one of asap, even",
        "/blocked_user_agents/0 must be 1 to 200 characters long",
    ];
    assert_eq!(faults, expected);
    let Err(BodyError::NotAnEvent(faults)) = parse("[]") else { panic!("it was taken") };
    assert_eq!(faults, [Fault { pointer: String::new(), detail: "must be a JSON object".into() }]);
    assert!(matches!(parse("{"), Err(BodyError::NotJson(_))));
    let (_, twice) = parse(r#"{"name":"a","name":"b"}"#).unwrap().apply(&samples::campaign());
    assert_eq!(twice, [Fault { pointer: "/name".into(), detail: "is there more than once".into() }]);
}

#[test]
fn the_result_must_be_sound() {
    let ends_at = Some(time::macros::datetime!(2026-01-02 00:00 UTC));
    let terms = Terms { daily_budget: Some("4".parse().unwrap()), ends_at, ..samples::campaign() };
    let body = json!({"total_budget": "3", "starts_at": "2026-01-03T00:00:00Z", "status": "draft"});
    assert_eq!(pointers(changed(&terms, &body).unwrap_err()), ["/daily_budget", "/ends_at", "/status"]);
    // Even pacing needs what it spreads over the day.
    let even = Terms { pacing: Pacing::Even, ..terms };
    assert_eq!(pointers(changed(&even, &json!({"daily_budget": null})).unwrap_err()), ["/pacing"]);
    assert_eq!(pointers(changed(&samples::campaign(), &json!({"pacing": "even"})).unwrap_err()), ["/pacing"]);
    assert!(changed(&even, &json!({"daily_budget": null, "pacing": null})).is_ok());
    // What could not be read has no fault beside that.
    assert_eq!(pointers(changed(&even, &json!({"daily_budget": "x"})).unwrap_err()), ["/daily_budget"]);
    assert_eq!(
        pointers(changed(&even, &json!({"total_budget": 0, "daily_budget": "9"})).unwrap_err()),
        ["/total_budget"]
    );
}

/// Of any two members that are wrong, both are reported: also if one is wrong by itself, and the other one only in this
/// campaign.
#[test]
fn any_two_faults_in_one_answer() {
    let ends_at = Some(time::macros::datetime!(2026-01-02 00:00 UTC));
    let terms = Terms { ends_at, ..samples::campaign() };
    let only_in_it = [
        (("status", r#""draft""#), "/status"),
        (("starts_at", r#""2026-01-03T00:00:00Z""#), "/ends_at"),
        (("pricing_model", r#""cpm""#), "/pricing_model"),
        (("name", "null"), "/name"),
    ];
    for pair in samples::pairs_of_faults(&only_in_it) {
        let members = pair.map(|((name, value), _)| format!("{name:?}:{value}"));
        let body = format!("{{{}}}", members.join(","));
        let mut found = pointers(parse(&body).unwrap().apply(&terms).1);
        let mut expected = pair.map(|(_, pointer)| pointer);
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn a_campaign_that_has_ended_stays_so() {
    use Status::{Active, Draft, Ended, Paused};
    let all = [Draft, Active, Paused, Ended];
    for before in all {
        let terms = Terms { status: before, ..samples::campaign() };
        for after in all {
            let allowed = match before {
                Draft => true,
                Active | Paused => after != Draft,
                Ended => after == Ended,
            };
            let (changed, faults) = Patch::of_status(after).apply(&terms);
            assert_eq!(changed, Terms { status: after, ..terms.clone() });
            assert_eq!(faults.len(), usize::from(!allowed), "{before:?} to {after:?}");
            assert_eq!(parse(&json!({"status": after.as_str()}).to_string()), Ok(Patch::of_status(after)));
        }
    }
}

/// RFC 7396, section 2, for an object without objects in it.
fn merged(target: &Value, patch: &Map<String, Value>) -> Value {
    let mut target = target.as_object().unwrap().clone();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            target.insert(name.clone(), value.clone());
        }
    }
    target.into()
}

proptest! {
    #[test]
    fn a_patch_is_a_merge(
        before in samples::terms(),
        other in samples::terms(),
        chosen in prop::collection::vec(0..3_u8, MEMBERS.len()),
    ) {
        let values = other.to_json();
        let patch: Map<_, _> = MEMBERS.iter().zip(chosen).filter_map(|(member, chosen)| {
            let value = match (chosen, member.patched) {
                (0, _) | (_, Patched::Never) => return None,
                (1, Patched::SetOrRemoved) => Value::Null,
                _ => values[member.name].clone(),
            };
            (member.patched == Patched::SetOrRemoved || !value.is_null()).then(|| (member.name.to_owned(), value))
        }).collect();
        let before = Terms { status: Status::Draft, ..before };
        let expected = Terms::parse(&merged(&before.to_json(), &patch).to_string().into());
        let outcome = changed(&before, &patch.into());
        prop_assert_eq!(outcome.map_err(BodyError::NotAnEvent), expected);
    }
}
