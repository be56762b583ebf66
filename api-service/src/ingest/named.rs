//! The ids that a refused event names, as far as they can be read: the log has them, so that an operator finds the
//! sender.

use axum::http::HeaderMap;
use shared::kafka::cloud_events::header_text;
use shared::kafka::ids::is_subject;

use super::Item;
use crate::http::members::Members;
use crate::http::subject::{About, Subject, SubjectKind};

/// The ids in an event whose subject is of this kind. Values that are not valid ids are left out.
pub(super) fn named(item: Item<'_>, kind: &'static SubjectKind) -> About {
    match item {
        Item::Plain(_, value) | Item::Structured(_, value) => in_json(value.get().as_bytes(), kind),
        Item::Binary(headers, _) => in_headers(headers, kind),
    }
}

fn in_json(text: &[u8], kind: &'static SubjectKind) -> About {
    let Ok(members) = serde_json::from_slice::<Members<'_>>(text) else { return About::default() };
    // Only if there is exactly one such member, and it is a string.
    let text = |own: &str, cloud_events: &str| {
        let named = Some(members.named(own)).filter(|named| !named.is_empty());
        let [value] = named.unwrap_or_else(|| members.named(cloud_events))[..] else { return None };
        serde_json::from_str(value.get()).ok()
    };
    about(text(kind.field, "subject"), text("event_id", "id"), kind)
}

/// The ids of a CloudEvent in binary mode; none for any other request.
fn in_headers(headers: &HeaderMap, kind: &'static SubjectKind) -> About {
    let text = |name: &str| headers.get(name).and_then(|value| header_text(value.as_bytes()));
    about(text("ce-subject"), text("ce-id"), kind)
}

fn about(subject: Option<String>, event_id: Option<String>, kind: &'static SubjectKind) -> About {
    let subject = subject.filter(|text| is_subject(text));
    About {
        subject: subject.map(|id| Subject::new(kind, id.into())),
        event_id: event_id.and_then(|text| text.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static KIND: SubjectKind = crate::http::subject::subject_kind!(device_id);

    fn named(About { subject, event_id }: About) -> (Option<String>, Option<String>) {
        (subject.map(|subject| subject.field().1.to_owned()), event_id.map(|id| id.as_str().to_owned()))
    }

    #[test]
    fn what_can_be_read_and_is_an_id() {
        for (text, device, event) in [
            (r#"{"device_id":"d","event_id":"e","payload":7}"#, Some("d"), Some("e")),
            (r#"{"subject":"d","id":"e","data":{}}"#, Some("d"), Some("e")),
            (r#"{"event_id":"e","nonsense":{"device_id":"no"}}"#, None, Some("e")),
            (r#"{"device_id":"d/..","event_id":"not sane"}"#, None, None),
            (r#"{"device_id":"line 1/d","event_id":null}"#, Some("line 1/d"), None),
            (r#"{"device_id":"d\n2026-01-02 INFO","event_id":"e"}"#, None, Some("e")),
            (r#"{"device_id":7,"event_id":"e"}"#, None, Some("e")),
            (r#"{"device_id":"d","device_id":"other"}"#, None, None),
            (r#"{"device_id":"d","payload":{"#, None, None),
            (r#"["device_id"]"#, None, None),
            ("", None, None),
        ] {
            assert_eq!(
                named(in_json(text.as_bytes(), &KIND)),
                (device.map(Into::into), event.map(Into::into)),
                "{text}"
            );
        }
        for (subject, device) in [("d", "d"), ("line%201/d", "line 1/d"), ("\"d\"", "d")] {
            let headers = [("ce-subject", subject), ("ce-id", "not sane")];
            let headers =
                headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect();
            assert_eq!(named(in_headers(&headers, &KIND)), (Some(device.into()), None));
        }
    }
}
