//! `POST /resources/query`: the latest states of several devices.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::value::RawValue;
use shared::cache::CacheKey;
use shared::devices::DeviceId;
use shared::runtime::json::{Fault, Faults, at, each_member, json, text};

use super::Reads;
use super::rights::{READERS, allow};
use crate::auth::Caller;
use crate::backbone::Backbone;
use crate::backbone::json_body::{JsonCall, JsonRequest};
use crate::http::problem::{Code, Problem};
use crate::http::rate::Kind;

pub(super) const MAX_IDS: usize = 500;
/// The longest ids fit, with a few escapes.
pub(super) const MAX_BODY: usize = 128 * 1024;

const INVALID: &str = "the body is not a query, see errors";

/// Responds with the state of each device, or with the reason why there is none. Errors: those of a read, and those of a
/// body, before any state is read.
pub(super) async fn show(
    State(Reads { rights, backbone }): State<Reads>,
    request: Request,
) -> Result<Response, Response> {
    // Only the body tells what the query costs.
    let call = JsonCall {
        types: &["application/json"],
        limit: MAX_BODY,
        cost: (Kind::Reads, 0),
        anonymous: None,
        services: None,
    };
    let read = backbone.read_json(request, call, |caller| rights.admit(caller, READERS)).await?;
    let JsonRequest { parts, caller, bytes, room } = read;
    let ids = ids(&bytes);
    drop((bytes, room));
    answer(&backbone, &parts, &caller, ids).await.map_err(Problem::into_response)
}

async fn answer(
    backbone: &Backbone,
    parts: &Parts,
    caller: &Caller,
    ids: Result<Vec<String>, Problem>,
) -> Result<Response, Problem> {
    // A body that is not a query, or asks for nothing, costs one.
    let count = ids.as_ref().map_or(1, |ids| u32::try_from(ids.len()).unwrap_or(u32::MAX).max(1));
    backbone.rates.charge(Kind::Reads, parts, caller.quota(), count)?;
    let key = |id: &String| -> Result<CacheKey, Problem> {
        let id: DeviceId = id.parse().map_err(|_| Problem::new(Code::RESOURCE_NOT_FOUND, "it is not a valid id"))?;
        allow(caller, READERS, &id, None)?;
        Ok(id.cache_key())
    };
    let asked = ids?.into_iter().map(|id| (key(&id), id)).map(|(key, id)| (id, key)).collect();
    let (response, left) = backbone.cached.show_many(asked, backbone.cached.deadline()).await?;
    // They cost something when they are answered.
    backbone.rates.refund(Kind::Reads, parts, &caller.subject, left);
    Ok(response)
}

/// The ids of a query, which need not be valid. The error lists every fault of the body.
fn ids(bytes: &Bytes) -> Result<Vec<String>, Problem> {
    let (mut given, mut faults) = (None, Faults::default());
    let members = json(bytes).and_then(|query| {
        each_member(query, |name, value| match name {
            Ok(name) if name == "ids" && given.is_none() => given = Some(value),
            Ok(name) if name == "ids" => faults.add(|| at("/ids"), "is there more than once"),
            Ok(name) => faults.add(|| at("").then(&name), "is not a field of a query"),
            Err(fault) => faults.add(|| at(""), format!("has a key that {fault}")),
        })
    });
    members.map_err(|error| Problem::of_body(error, Code::INVALID_QUERY, INVALID))?;
    let ids = match given {
        Some(given) => texts(given, &mut faults)?,
        None => {
            faults.add(|| at("/ids"), "is required");
            Vec::new()
        }
    };
    if faults.is_empty() { Ok(ids) } else { Err(invalid(faults.list(""))) }
}

fn texts(given: &RawValue, faults: &mut Faults) -> Result<Vec<String>, Problem> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(given.get()) else {
        faults.add(|| at("/ids"), "must be an array of strings");
        return Ok(Vec::new());
    };
    if items.len() > MAX_IDS {
        return Err(Problem::new(Code::TOO_MANY_IDS, format!("a query may have up to {MAX_IDS} ids")));
    }
    let mut ids = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        match text(item) {
            Ok(id) => ids.push(id.into_owned()),
            Err(fault) => faults.add(|| at("/ids").then(&index.to_string()), fault),
        }
    }
    Ok(ids)
}

fn invalid(faults: Vec<Fault>) -> Problem {
    Problem::new(Code::INVALID_QUERY, INVALID).with_errors(faults)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(body: &str) -> Value {
        let problem = ids(&Bytes::copy_from_slice(body.as_bytes())).unwrap_err();
        serde_json::from_slice(&problem.body("r")).unwrap()
    }

    #[test]
    fn a_query_names_its_ids_and_every_fault_is_told() {
        let given = |body: &'static str| ids(&Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(given(r#"{"ids":["a","b c","","\u0061"]}"#), ["a", "b c", "", "a"]);
        assert_eq!(given(r#" {"ids" : [] } "#), [""; 0]);
        let table = [
            (
                r#"{"ids":["a",7,null,"\ud800"],"limit":1}"#,
                json!([
                    {"pointer": "/limit", "detail": "is not a field of a query"},
                    {"pointer": "/ids/1", "detail": "must be a string"},
                    {"pointer": "/ids/2", "detail": "must be a string"},
                    {"pointer": "/ids/3", "detail": "contains a lone surrogate"},
                ]),
            ),
            (r#"{}"#, json!([{"pointer": "/ids", "detail": "is required"}])),
            (r#"{"ids":"a"}"#, json!([{"pointer": "/ids", "detail": "must be an array of strings"}])),
            (r#"{"ids":[],"ids":[]}"#, json!([{"pointer": "/ids", "detail": "is there more than once"}])),
            (r#"["a"]"#, json!([{"pointer": "", "detail": "must be a JSON object"}])),
        ];
        for (body, errors) in table {
            let problem = refused(body);
            assert_eq!((&problem["code"], &problem["errors"]), (&json!("invalid_query"), &errors), "{body}");
        }
        assert_eq!(refused(&json!({"ids": vec![7; 100]}).to_string())["errors"].as_array().unwrap().len(), 21);
    }

    #[test]
    fn what_is_no_query_at_all() {
        for (body, code) in [("", "not_json"), (r#"{"ids":["a"}"#, "not_json"), ("7", "invalid_query")] {
            assert_eq!(refused(body)["code"], code, "{body}");
        }
        let query = |count: usize| json!({"ids": vec!["a"; count]}).to_string();
        assert_eq!(refused(&query(MAX_IDS + 1))["code"], "too_many_ids");
        assert_eq!(ids(&query(MAX_IDS).into()).unwrap().len(), MAX_IDS);
        assert!(
            json!({"ids": vec!["x".repeat(DeviceId::MAX); MAX_IDS]}).to_string().len() < MAX_BODY,
            "the longest fit"
        );
    }
}
