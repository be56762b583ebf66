//! Examples; the tests send each of them.

use serde_json::{Value, json};

use crate::http::openapi::answers::REQUEST_ID;

/// Events for `POST /events`. The page at `/docs` offers the first one, by name.
pub(super) fn events() -> Value {
    json!({
        "least": {
            "summary": "Required members only",
            "value": {"device_id": "device-123", "payload": {"status": "online", "temp_c": 37.2}}
        },
        "named": {
            "summary": "A device whose name has other characters: it is read at /resource/site-7%2Fline%201",
            "value": {"device_id": "site-7/line 1", "payload": {"temp_c": 21.5}}
        },
        "whole": {
            "summary": "With an id and a time: it may be sent again",
            "value": {
                "device_id": "device-123",
                "event_id": "reading-0001",
                "occurred_at": "2026-01-02T03:04:05.678+01:00",
                "payload": {"status": "online", "axes": [0.1, -9.81], "battery": {"percent": 80}}
            }
        }
    })
}

pub(super) fn cloud_event() -> Value {
    json!({
        "specversion": "1.0",
        "type": "io.edge.device.reported.v1",
        "source": "/devices/device-123",
        "id": "reading-0002",
        "subject": "device-123",
        "time": "2026-01-02T03:04:05Z",
        "datacontenttype": "application/json",
        "data": {"status": "online"}
    })
}

pub(super) fn arrays() -> Value {
    json!({
        "least": {
            "summary": "Required members only",
            "value": [
                {"device_id": "device-123", "payload": {"temp_c": 37.3}},
                {"device_id": "device-456", "payload": {"temp_c": 21.5}}
            ]
        },
        "whole": {
            "summary": "With ids: they may be sent again",
            "value": [
                {"device_id": "device-123", "event_id": "reading-0003", "payload": {"temp_c": 37.3}},
                {"device_id": "device-123", "event_id": "reading-0004", "payload": {"temp_c": 37.4}}
            ]
        }
    })
}

pub(super) const LINES: &str = "{\"device_id\":\"device-123\",\"event_id\":\"reading-0005\",\"payload\":{\"temp_c\":37.5}}\n\
                                {\"device_id\":\"device-456\",\"event_id\":\"reading-0006\",\"payload\":{}}\n";

pub(super) fn resource() -> Value {
    json!({
        "version": 7,
        "id": "device-123",
        "payload": {"status": "online", "temp_c": 37.2},
        "event_id": "reading-0001",
        "accepted_at": "2026-01-02T03:04:05.678901Z",
        "updated_at": "2026-01-02T03:04:05.690123Z"
    })
}

pub(super) fn history() -> Value {
    json!({
        "items": [{
            "event_id": "reading-0001",
            "type": "io.edge.device.reported.v1",
            "occurred_at": "2026-01-02T02:04:05.678000Z",
            "accepted_at": "2026-01-02T03:04:05.678901Z",
            "outcome": "applied",
            "request_id": REQUEST_ID,
            "payload": {"status": "online", "temp_c": 37.2}
        }],
        "next": "1767323045678901.reading-0001"
    })
}

pub(super) fn states() -> Value {
    let resource = resource();
    json!({
        "items": [
            {"id": "device-123", "status": 200, "etag": "\"7-2026-01-02T03:04:05.690123Z\"", "resource": resource},
            {"id": "device-456", "status": 404, "code": "resource_not_found"}
        ],
        "next": null
    })
}

pub(super) fn listing() -> Value {
    json!({
        "items": [{
            "id": "device-123",
            "version": 7,
            "accepted_at": "2026-01-02T03:04:05.678901Z",
            "updated_at": "2026-01-02T03:04:05.690123Z"
        }],
        "next": "device-123"
    })
}
