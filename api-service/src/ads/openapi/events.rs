//! The operations that accept ad events.

use serde_json::{Value, json};
use shared::ads::{AdEventType, UserId};

use crate::ads::refused::CODES;
use crate::ads::{EVENTS, EVENTS_ALIAS, EVENTS_BATCH};
use crate::http::openapi::Part;
use crate::http::openapi::schemas::{PRINTABLE, object, schema};
use crate::ingest::openapi::{AnswerForm, Operations, OwnForm};

/// Printable ASCII without a blank at either end.
const USER_ID: &str = "^[!-~]([ -~]*[!-~])?$";
/// A segment that no user's id has.
const DOT_SEGMENT: &str = r"(^|/)\.{1,2}(/|$)";
/// The digits of a campaign's id.
const CAMPAIGN_DIGITS: &str = "^[1-9][0-9]{0,18}$";
/// A subject: a campaign, a colon and a user.
const SUBJECT: &str = "^[1-9][0-9]{0,18}:[!-~]([ -~]*[!-~])?$";
const AMOUNT: &str = r"^[0-9]{1,9}(\.[0-9]{1,6})?$";

pub(super) fn parts() -> Vec<Part> {
    let mut part = operations().part();
    if let Value::Object(paths) = &mut part.paths {
        let mut alias = paths.get(EVENTS).cloned().unwrap_or_default();
        if let Some(post) = alias.pointer_mut("/post") {
            *post = aliased(post.clone());
        }
        paths.insert(EVENTS_ALIAS.to_owned(), alias);
    }
    vec![part, Part { schemas: schemas(), ..Part::default() }]
}

/// The same operation under its other name.
fn aliased(mut operation: Value) -> Value {
    if let Value::Object(members) = &mut operation {
        members.insert("operationId".to_owned(), json!("submitAdEventAlias"));
        members.insert("summary".to_owned(), json!("Sends an ad event, as /ad-events does"));
    }
    operation
}

fn operations() -> Operations {
    Operations {
        tag: ("ad events", "Impressions, clicks and conversions of campaigns"),
        paths: [EVENTS, EVENTS_BATCH],
        ids: ["submitAdEvent", "submitAdBatch"],
        roles: "Roles: `tracker`, `admin`, `device` (events whose user is the token's `sub`, and no conversions). \
            `/events/` is another name of `/ad-events`; `/events` without the slash takes the events of devices.",
        codes: &CODES,
        own: Some(OwnForm { event: "AdEvent", events: events(), arrays: arrays(), lines: LINES.to_owned() }),
        cloud_event: "AdCloudEvent",
        types: AdEventType::ALL,
        subject: "AdSubject",
        subject_in_header: subject_in_header(),
        data: "AdData",
        example: json!({
            "specversion": "1.0",
            "type": AdEventType::Impression.as_str(),
            "source": "/shops/1",
            "id": "view-0002",
            "subject": "1:user-1",
            "time": "2026-01-02T03:04:05Z",
            "datacontenttype": "application/json",
            "data": {}
        }),
        answer: Some(AnswerForm {
            schema: "AdAccepted",
            required: &["campaign_id", "user_id", "event_type", "ts", "day", "cost"],
            properties: json!({
                "campaign_id": campaign_id(),
                "user_id": schema("UserId"),
                "event_type": schema("AdEventType"),
                "ts": {
                    "$ref": "#/components/schemas/Time",
                    "description": "When it was accepted. A repeat that PostgreSQL has keeps the time of the first one."
                },
                "day": {
                    "type": "string", "format": "date",
                    "description": "The day of the campaign's time zone to which it belongs. Of a capped impression that is sent \
                        again after midnight, its first day."
                },
                "cost": {
                    "type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,9})?$",
                    "description": "What it costs, in the campaign's currency: exact, without zeros at the end."
                }
            }),
            example: json!({
                "event_id": "view-0001", "campaign_id": 1, "user_id": "user-1", "event_type": "impression",
                "ts": "2026-01-02T03:04:05.678901Z", "day": "2026-01-02", "cost": "0.01"
            }),
        }),
        is_anonymous: true,
    }
}

/// Events for `POST /ad-events`. The page at `/docs` offers the first one, by name.
fn events() -> Value {
    json!({
        "impression": {
            "summary": "An impression: required members only",
            "value": {"campaign_id": 1, "user_id": "user-1", "event_type": "impression"}
        },
        "click": {
            "summary": "A click, with an id: it may be sent again",
            "value": {
                "campaign_id": 1, "user_id": "user-1", "event_type": "click", "event_id": "click-0001",
                "impression_id": "view-0001", "user_agent": "Mozilla/5.0"
            }
        },
        "conversion": {
            "summary": "A conversion, with what it is worth and when it happened",
            "value": {
                "campaign_id": 1, "user_id": "user-1", "event_type": "conversion", "event_id": "order-0001",
                "occurred_at": "2026-01-02T03:04:05.678+01:00", "value": "19.90", "click_id": "click-0001"
            }
        }
    })
}

fn arrays() -> Value {
    json!({
        "least": {
            "summary": "Two impressions",
            "value": [
                {"campaign_id": 1, "user_id": "user-1", "event_type": "impression"},
                {"campaign_id": 1, "user_id": "user-2", "event_type": "impression"}
            ]
        }
    })
}

const LINES: &str = "{\"campaign_id\":1,\"user_id\":\"user-1\",\"event_type\":\"impression\"}\n\
                     {\"campaign_id\":1,\"user_id\":\"user-2\",\"event_type\":\"impression\"}\n";

/// The schema of a subject in a header, where it is percent-encoded.
fn subject_in_header() -> Value {
    let first = "[!#$&-~]|%(2[1-9A-Fa-f]|[3-6][0-9A-Fa-f]|7[0-9A-Ea-e])";
    let other = "[ -$&-~]|%([2-6][0-9A-Fa-f]|7[0-9A-Ea-e])";
    let last = "[!-$&-~]|%(2[1-9A-Fa-f]|[3-6][0-9A-Fa-f]|7[0-9A-Ea-e])";
    json!({
        "type": "string",
        "pattern": format!("^[1-9][0-9]{{0,17}}:({first})(({other}){{0,{}}}({last}))?$", UserId::MAX - 2),
        "not": {"pattern": r"(:|/|%2[Ff])(\.|%2[Ee]){1,2}(/|%2[Ff]|$)"}
    })
}

fn campaign_id() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": i64::MAX})
}

/// The members that an ad event has in each of its forms.
fn members() -> Value {
    let optional = |of: Value, description: &str| json!({"anyOf": [of, {"type": "null"}], "description": description});
    let amount = json!({"anyOf": [{"type": "string", "pattern": AMOUNT}, {"type": "number", "minimum": 0}]});
    json!({
        "value": optional(
            amount,
            "What a conversion was worth: decimal text, or a number that is read by its digits, with up to 9 digits before \
             the point and 6 behind it, without sign and exponent. Only for conversions."
        ),
        "impression_id": optional(schema("EventId"), "The impression that led to it."),
        "click_id": optional(schema("EventId"), "The click that led to it."),
        "user_agent": optional(
            json!({"type": "string", "maxLength": 512, "pattern": PRINTABLE}),
            "The user's browser or app: up to 512 characters, none of them a control character."
        )
    })
}

fn schemas() -> Value {
    let with = |mut all: Value, more: Value| {
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
        all
    };
    let names = || {
        json!({
            "campaign_id": {
                "anyOf": [campaign_id(), {"type": "string", "pattern": CAMPAIGN_DIGITS}],
                "description": "The campaign: its id as a number, or as text."
            },
            "user_id": schema("UserId"),
            "event_type": schema("AdEventType")
        })
    };
    let own = json!({
        "event_id": {
            "anyOf": [schema("EventId"), {"type": "null"}],
            "description": "Unique among the campaign's events; a UUIDv7 if it is absent or null. An event with an id may be \
                sent any number of times: it counts, and costs, once. Before a 409 an instance looks up 100 ids a \
                second; with `Retry-After: 1` send it again."
        },
        "occurred_at": {
            "type": ["string", "null"], "format": "date-time",
            "description": "When it happened, by the sender's clock (RFC 3339); if it is absent or null, when it was \
                accepted. It belongs to the day in which it was accepted all the same."
        }
    });
    let event = with(with(names(), own), members());
    json!({
        "AdEvent": object(&["campaign_id", "user_id", "event_type"], event),
        "AdData": {
            "description": "The rest of an ad event, as the data of a CloudEvent, whose subject is the campaign and the \
                user. If campaign, user and type are here, too, they must be the same.",
            "type": "object", "additionalProperties": false, "properties": with(names(), members())
        },
        "AdEventType": {"enum": [
            AdEventType::Impression.name(), AdEventType::Click.name(), AdEventType::Conversion.name()
        ]},
        "UserId": {
            "type": "string", "minLength": 1, "maxLength": UserId::MAX, "pattern": USER_ID,
            "not": {"pattern": DOT_SEGMENT},
            "description": "A user: printable ASCII, no blank at either end, and no segment `.` or `..` between slashes.",
            "examples": ["user-1"]
        },
        "AdSubject": {
            "type": "string", "pattern": SUBJECT, "maxLength": UserId::MAX + 20,
            "not": {"pattern": r"(:|/)\.{1,2}(/|$)"},
            "description": "The id of the campaign, a colon, and the id of the user.",
            "examples": ["1:user-1"]
        }
    })
}
