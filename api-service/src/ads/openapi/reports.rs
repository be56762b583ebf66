//! The operation on reports in the OpenAPI document.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::ads::queries::MAX_REPORT_ROWS;

use crate::ads::codes::CAMPAIGN_NOT_FOUND;
use crate::ads::reports::{FIRST_DAY, REPORT, REPORT_WITH_SLASH};
use crate::cached::openapi::READ;
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated, rates, security};
use crate::http::openapi::headers::{constant, header, required};
use crate::http::openapi::schemas::{object, schema};
use crate::http::problem::Code;

pub(in crate::ads) fn part() -> Part {
    let day = |name: &str, description: &str| {
        json!({
            "in": "query", "name": name, "description": description,
            "schema": {
                "type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
                "not": {"pattern": "^0000"}
            },
            "example": "2026-01-31"
        })
    };
    Part {
        tags: vec![("reports", "What the events of a campaign have come to")],
        paths: json!({
            REPORT: {"get": show("", "")},
            REPORT_WITH_SLASH: {"get": show("WithSlash", " The same as without the slash at the end.")}
        }),
        schemas: schemas(),
        headers: json!({
            "Report-ETag": required(
                "Identifies this state of the report, in this form. Opaque: do not parse it.",
                json!({"type": "string", "pattern": "^\"[1-9][0-9]*-[0-9T:.-]+Z(-csv)?\"$"})
            )
        }),
        parameters: json!({
            "ReportFrom": day("from", &format!(
                "The first day, in the campaign's time zone; not before {FIRST_DAY}. With `from` or `to`, all sums are \
                 those of these days, and `users` counts the users of these days, each once."
            )),
            "ReportTo": day("to", "The last day; not earlier than `from`."),
            "ReportBy": {
                "in": "query", "name": "by",
                "description": format!("What a row is about. A report has up to {MAX_REPORT_ROWS} rows."),
                "schema": {"type": "string", "enum": ["day", "hour"], "default": "day"}
            }
        }),
        ..Part::default()
    }
}

fn show(end: &str, note: &str) -> Value {
    let codes = [&TOKEN[..], &READ, &[CAMPAIGN_NOT_FOUND, Code::BAD_REQUEST]];
    let source = json!({
        "description": "Of the whole report: where the answer came from.",
        "schema": {"$ref": "#/components/headers/Cache-Status/schema"}
    });
    let headers = || {
        let own = [
            ("etag", header("Report-ETag")),
            ("cache-status", source.clone()),
            ("cache-control", constant("private, no-cache")),
            ("vary", json!({"required": true, "schema": {"type": "string"}})),
        ];
        own.into_iter().chain(rates())
    };
    let content = json!({
        "application/json": {"schema": schema("Report"), "example": example()},
        "text/csv": {"schema": {
            "type": "string",
            "description": "RFC 4180, with a line of column names: a line for each of the `rows`, with its members."
        }}
    });
    let good = json!({
        "200": answers::with_content("The report.", content, headers()),
        "304": answers::empty("Not modified.", headers())
    });
    let mut more = rated(&codes);
    more.push((StatusCode::NOT_FOUND, "cache-status", source.clone()));
    json!({
        "operationId": format!("showReport{end}"),
        "tags": ["reports"],
        "summary": "Shows the report of a campaign",
        "description": format!(
            "Roles: `admin`; `advertiser` (its own campaigns). The whole report, by day, comes from the cache, and is \
             never older than the last event that was applied before the request; with `from`, `to` or `by=hour`, and \
             as CSV, it comes from PostgreSQL. CSV if `Accept` prefers `text/csv` to JSON. An event belongs to the day in \
             which it was accepted.{note}"
        ),
        "security": security(true),
        "parameters": parameters(["CampaignId", "ReportFrom", "ReportTo", "ReportBy", "If-None-Match", "X-Request-Id"]),
        "responses": answers(good, &codes, &more)
    })
}

/// Six decimals at most, and no zeros at the end.
const RATIO: &str = r"^(0|[1-9][0-9]*)(\.[0-9]{0,5}[1-9])?$";

fn schemas() -> Value {
    let count = |description: &str| json!({"type": "integer", "minimum": 0, "description": description});
    let ratio = |description: &str| json!({"type": "string", "pattern": RATIO, "description": description});
    let money = |description: &str| json!({"$ref": "#/components/schemas/Money", "description": description});
    let counts = || {
        let counts = json!({
            "impressions": count("Impressions that count."),
            "clicks": count("Clicks that count."),
            "conversions": count("Conversions that count."),
            "users": count(
                "Users with an event that counts, each once; in the row of an hour those whose first event of the day was \
                 in it. Of erased users, the whole report and each row keep the number."
            ),
            "ctr": ratio("Clicks divided by impressions, with six decimals at most; 0 without impressions."),
            "cvr": ratio("Conversions divided by clicks, with six decimals at most; 0 without clicks."),
            "spend": money("What they have cost."),
            "value": money("The sum of the conversions' values."),
            "void": count("Events that do not count and cost nothing, because there was no room for them.")
        });
        match counts {
            Value::Object(counts) => counts,
            _ => serde_json::Map::new(),
        }
    };
    let names: Vec<String> = counts().keys().cloned().collect();
    let names = || names.iter().map(String::as_str);
    let mut row = counts();
    row.insert("day".to_owned(), json!({"type": "string", "format": "date"}));
    let hour = json!({
        "type": "integer", "minimum": 0, "maximum": 23,
        "description": "With `by=hour`: the hour, by the campaign's clock."
    });
    row.insert("hour".to_owned(), hour);
    let mut report = counts();
    let own = json!({
        "version": {
            "type": "integer", "minimum": 1,
            "description": "Grows with every event, and with every change of the campaign."
        },
        "campaign_id": {"type": "integer", "minimum": 1},
        "remaining": money("What is left of the campaign's whole budget."),
        "invalid": {
            "type": "object", "additionalProperties": {"type": "integer", "minimum": 0},
            "description": "Without `from` and `to`: the events that a rule of the campaign made invalid, by reason. \
                They cost nothing."
        },
        "rows": {"type": "array", "maxItems": MAX_REPORT_ROWS, "items": schema("ReportRow")},
        "updated_at": schema("Time")
    });
    if let Value::Object(own) = own {
        report.extend(own);
    }
    let required: Vec<&str> = names().chain(["version", "campaign_id", "remaining", "rows", "updated_at"]).collect();
    json!({
        "Report": object(&required, Value::Object(report)),
        "ReportRow": object(&names().chain(["day"]).collect::<Vec<_>>(), Value::Object(row))
    })
}

fn example() -> Value {
    json!({
        "version": 7, "campaign_id": 1, "impressions": 2, "clicks": 1, "conversions": 0, "users": 1, "ctr": "0.5",
        "cvr": "0", "spend": "0.02", "value": "0", "remaining": "4.98", "void": 0, "invalid": {},
        "rows": [{
            "day": "2026-11-26", "impressions": 2, "clicks": 1, "conversions": 0, "users": 1, "ctr": "0.5", "cvr": "0",
            "spend": "0.02", "value": "0", "void": 0
        }],
        "updated_at": "2026-11-26T10:00:00.123456Z"
    })
}
