//! Promise 7: the answer to a command that was done is of what its events say.

use serde_json::Value;

use super::Placed;
use super::model::{Placement, Video};
use crate::history::placements::{Ask, DomainRecord, Tried};

impl Placed<'_> {
    /// What is wrong with the answer to a command that was done, and has these events.
    pub(super) fn wrong_answer(&self, tried: &Tried, events: &[&DomainRecord]) -> Option<String> {
        let body: Value = serde_json::from_str(&tried.body).unwrap_or_default();
        let expected_status = match &tried.ask {
            Ask::CreateVideo { .. } | Ask::Place { .. } | Ask::PlaceMany { .. } => 201,
            Ask::ChangeVideo { .. } | Ask::ChangePlacement { .. } => 200,
            Ask::DeletePlacement { .. } => 204,
            Ask::Validate { .. } => 202,
        };
        if tried.status != expected_status {
            return Some(format!("it was answered {}, not {expected_status}", tried.status));
        }
        // A change without a difference has none.
        let last = events.last()?;
        let number = last.sequence.unwrap_or_default();
        let is_so = match &tried.ask {
            Ask::CreateVideo { .. } | Ask::ChangeVideo { .. } => {
                let is_new = matches!(tried.ask, Ask::CreateVideo { .. });
                is_video(&body, last)
                    && tried.etag.as_deref().is_some_and(|etag| etag.starts_with(&format!("\"{number}-")))
                    && (!is_new || tried.location == Some(format!("/videos/{}", last.key)))
            }
            Ask::Place { .. } | Ask::ChangePlacement { .. } => {
                let is_new = matches!(tried.ask, Ask::Place { .. });
                let id = last.data.get("placementId").and_then(Value::as_str).unwrap_or_default();
                is_placement(&body, last)
                    && tried.etag == Some(format!("\"{number}\""))
                    && (!is_new || tried.location == Some(format!("/placements/{id}")))
            }
            Ask::PlaceMany { video, .. } => {
                let placements =
                    body.get("placements").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                placements.len() == events.len()
                    && placements.iter().zip(events).all(|(placement, event)| is_placement(placement, event))
                    && body.get("revision").and_then(Value::as_i64) == Some(number)
                    && tried.location == Some(format!("/videos/{video}/placements"))
            }
            Ask::DeletePlacement { .. } => tried.body.is_empty(),
            Ask::Validate { .. } => {
                let id = last.data.get("validationId").and_then(Value::as_str).unwrap_or_default();
                body.get("id").and_then(Value::as_str) == Some(id)
                    && body.get("revision") == last.data.get("revision")
                    && tried.location == Some(format!("/validations/{id}"))
            }
        };
        (!is_so).then(|| format!("it was answered {:?}, and its event is {}", tried.body, last.data))
    }
}

fn is_video(body: &Value, event: &DomainRecord) -> bool {
    let numbers = ["version", "revision"].map(|name| body.get(name).and_then(Value::as_i64));
    body.get("id").and_then(Value::as_str) == Some(&event.key)
        && numbers == [event.sequence; 2]
        && Video::of(body).is_some()
        && Video::of(body) == Video::of(&event.data)
}

fn is_placement(body: &Value, event: &DomainRecord) -> bool {
    body.get("id") == event.data.get("placementId")
        && body.get("videoId").and_then(Value::as_str) == Some(&event.key)
        && body.get("version").and_then(Value::as_i64) == event.sequence
        && Placement::of(body).is_some()
        && Placement::of(body) == Placement::of(&event.data)
}
