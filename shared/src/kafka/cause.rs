//! What caused an event.

use serde::{Deserialize, Serialize};

use super::Envelope;
use super::ids::EventId;

/// What caused an event, as its attributes tell it: carried through every hop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// What belongs together: the first request's id, or its caller's.
    pub correlation_id: Option<String>,
    /// The event that caused this one; `None`: a request did.
    pub causation_id: Option<String>,
    /// The HTTP request that began it.
    pub request_id: Option<String>,
    /// The subject of that request's token.
    pub user_id: Option<String>,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
}

impl Cause {
    /// The cause of what this event leads to.
    pub fn of(envelope: &Envelope) -> Self {
        let cause = Self {
            correlation_id: envelope.correlation_id.clone(),
            causation_id: None,
            request_id: envelope.request_id.clone(),
            user_id: envelope.user_id.clone(),
            traceparent: envelope.traceparent.clone(),
        };
        cause.through(&envelope.id)
    }

    /// The cause of what the event with this id leads to, which has this cause itself. An event without a correlation
    /// id begins one: its request's.
    pub fn through(self, id: &EventId) -> Self {
        Self {
            correlation_id: self.correlation_id.or_else(|| self.request_id.clone()),
            causation_id: Some(id.to_string()),
            ..self
        }
    }

    /// Its attributes that are there, by their names.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("correlationid", &self.correlation_id),
            ("causationid", &self.causation_id),
            ("requestid", &self.request_id),
            ("userid", &self.user_id),
            ("traceparent", &self.traceparent),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn a_correlation_id_is_kept_and_the_causing_event_is_named() {
        let (id, now) = (EventId::generate(), OffsetDateTime::UNIX_EPOCH);
        let first = Envelope {
            request_id: Some("r-1".to_owned()),
            user_id: Some("alice".to_owned()),
            traceparent: Some("00-1-2-01".to_owned()),
            ..Envelope::new("t", "s".into(), id.clone(), now, "{}".into())
        };
        let cause = Cause::of(&first);
        let id = id.to_string();
        let expected = [
            ("correlationid", "r-1"),
            ("causationid", id.as_str()),
            ("requestid", "r-1"),
            ("userid", "alice"),
            ("traceparent", "00-1-2-01"),
        ];
        assert_eq!(cause.attributes().collect::<Vec<_>>(), expected);
        let next = Envelope { correlation_id: Some("c-1".to_owned()), ..first };
        assert_eq!(Cause::of(&next).correlation_id.as_deref(), Some("c-1"), "it goes on");
        assert_eq!(Cause::default().attributes().count(), 0);
    }
}
