//! An event of a history, as PostgreSQL renders it, with its payload or the parts of it that a caller asks for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Event<'a, P> {
    #[serde(borrow)]
    pub(super) event_id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub(super) event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) occurred_at: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) accepted_at: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) request_id: Option<Cow<'a, str>>,
    pub(super) payload: P,
}

impl<'a> Event<'a, &'a RawValue> {
    pub(super) fn of(item: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(item)
    }

    pub(super) fn with<P>(self, payload: P) -> Event<'a, P> {
        let Self { event_id, event_type, occurred_at, accepted_at, outcome, request_id, .. } = self;
        Event { event_id, event_type, occurred_at, accepted_at, outcome, request_id, payload }
    }
}
