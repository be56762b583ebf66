//! The ids that a refused event names, as far as they can be read: for the log, where an operator looks for its device.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::problem::About;

#[derive(Default, Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    device_id: Option<&'a RawValue>,
    #[serde(borrow)]
    event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    subject: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Those of a JSON text: what is no id, or is none that is allowed, is left out.
pub(crate) fn in_json(text: &[u8]) -> About {
    let members: Members<'_> = serde_json::from_slice(text).unwrap_or_default();
    About { device_id: id(members.device_id.or(members.subject)), event_id: id(members.event_id.or(members.id)) }
}

/// Those of a CloudEvent in binary mode; none where it is not one.
pub(crate) fn in_headers(headers: &HeaderMap) -> About {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    About {
        device_id: text("ce-subject").and_then(|text| text.parse().ok()),
        event_id: text("ce-id").and_then(|text| text.parse().ok()),
    }
}

fn id<T: std::str::FromStr>(raw: Option<&RawValue>) -> Option<T> {
    let text: String = serde_json::from_str(raw?.get()).ok()?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(About { device_id, event_id }: About) -> (Option<String>, Option<String>) {
        (device_id.map(|id| id.as_str().to_owned()), event_id.map(|id| id.as_str().to_owned()))
    }

    #[test]
    fn what_can_be_read_and_is_an_id() {
        for (text, device, event) in [
            (r#"{"device_id":"d","event_id":"e","payload":7}"#, Some("d"), Some("e")),
            (r#"{"subject":"d","id":"e","data":{}}"#, Some("d"), Some("e")),
            (r#"{"event_id":"e","nonsense":{"device_id":"no"}}"#, None, Some("e")),
            (r#"{"device_id":"d/..","event_id":"not sane"}"#, None, None),
            (r#"{"device_id":7,"event_id":"e"}"#, None, Some("e")),
            (r#"{"device_id":"d","device_id":"other"}"#, None, None),
            (r#"{"device_id":"d","payload":{"#, None, None),
            (r#"["device_id"]"#, None, None),
            ("", None, None),
        ] {
            assert_eq!(named(in_json(text.as_bytes())), (device.map(Into::into), event.map(Into::into)), "{text}");
        }
        let headers = [("ce-subject", "d"), ("ce-id", "not sane")];
        let headers =
            headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect();
        assert_eq!(named(in_headers(&headers)), (Some("d".into()), None));
    }
}
