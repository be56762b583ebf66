//! The operations on campaigns in the OpenAPI document.

mod schemas;

use serde_json::{Value, json};
use shared::ads::Status;

use crate::ads::campaigns::{
    CAMPAIGN, CAMPAIGNS, DEFAULT_LIMIT, MAX_BODY, MAX_LIMIT, PATCH_TYPES, STATUSES, WITH_SLASH,
};
use crate::ads::codes::{BUDGET_BELOW_SPEND, CAMPAIGN_ENDED, CAMPAIGN_NOT_FOUND, INVALID_CAMPAIGN};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated, rates, security};
use crate::http::openapi::headers::{constant, header, required};
use crate::http::openapi::schemas::schema;
use crate::http::problem::Code;

/// The errors of a read.
const READ: [Code; 3] = [Code::STORE_UNAVAILABLE, Code::OVERLOADED, Code::TIMED_OUT];
/// The errors of a command, which publishes an event.
const COMMAND: [Code; 4] = [Code::OUTBOX_FULL, Code::STORE_UNAVAILABLE, Code::OVERLOADED, Code::TIMED_OUT];
/// The errors of a body.
const BODY: [Code; 7] = [
    Code::NOT_JSON,
    Code::BAD_REQUEST,
    Code::REQUEST_TIMEOUT,
    Code::BODY_TOO_LARGE,
    Code::UNSUPPORTED_MEDIA_TYPE,
    Code::UNSUPPORTED_ENCODING,
    INVALID_CAMPAIGN,
];

const SAME: &str = "The same as without the slash at the end.";
const ROLES: &str = "Roles: `admin`; `advertiser` (its own campaigns: those of its `sub`).";

pub(in crate::ads) fn part() -> Part {
    let [all_slash, one_slash] = WITH_SLASH;
    let all = |end: &str, note: &str| json!({"get": list(end, note), "post": create(end, note)});
    let one = |end: &str, note: &str| json!({"get": show(end, note), "patch": change(end, note)});
    let statuses = STATUSES.map(|(path, status)| (path, json!({"post": set_status(status)})));
    let paths = [
        (CAMPAIGNS, all("", "")),
        (all_slash, all("WithSlash", SAME)),
        (CAMPAIGN, one("", "")),
        (one_slash, one("WithSlash", SAME)),
    ];
    let paths = paths.into_iter().chain(statuses).map(|(path, operations)| (path.to_owned(), operations)).collect();
    Part {
        tags: vec![("campaigns", "What advertisers pay for, and how much of it")],
        token: "`advertiser` makes campaigns, and manages those that it has made.",
        paths: Value::Object(paths),
        schemas: schemas::all(),
        headers: json!({
            "Campaign-ETag": required(
                "The revision of the terms, for `If-Match`. The money changes without a new one, so that no answer is \
                 304.",
                json!({"type": "string", "pattern": "^\"[1-9][0-9]*\"$"})
            )
        }),
        parameters: parameter_list(),
    }
}

fn parameter_list() -> Value {
    json!({
        "CampaignId": {
            "in": "path", "name": "id", "required": true, "description": "The id of a campaign.",
            "schema": {"type": "integer", "minimum": 1, "maximum": i64::MAX}, "example": 1
        },
        "CampaignsAfter": {
            "in": "query", "name": "after",
            "description": "The `next` of the previous page: only campaigns with greater ids.",
            "schema": {"type": "integer", "minimum": 1, "maximum": i64::MAX}
        },
        "CampaignsLimit": {
            "in": "query", "name": "limit", "description": "The maximum number of campaigns of the page.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
        },
        "CampaignsStatus": {
            "in": "query", "name": "status", "description": "Only campaigns with this `status`.",
            "schema": {"type": "string", "enum": Status::NAMES}
        },
        "If-Match": {
            "in": "header", "name": "if-match", "required": true,
            "description": "The `ETag` of the campaign that was read and is to be changed (RFC 9110), or a list, or `*`. \
                Without it the answer is 428, and 412 if the campaign has changed since. Weak tags match none.",
            "schema": {"type": "string"}, "example": "\"1\""
        },
        "Optional-If-Match": {
            "in": "header", "name": "if-match",
            "description": "The `ETag` that the campaign must have (RFC 9110); 412 if it has another one.",
            "schema": {"type": "string"}
        }
    })
}

/// An operation with this description, which ends with `note`.
fn operation(id: &str, summary: &str, description: &str, note: &str, rest: Value) -> Value {
    let description = [ROLES, description, note].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let mut operation = json!({
        "operationId": id,
        "tags": ["campaigns"],
        "summary": summary,
        "description": description.join(" "),
        "security": security(true)
    });
    if let (Value::Object(operation), Value::Object(rest)) = (&mut operation, rest) {
        operation.extend(rest);
    }
    operation
}

/// An answer with a campaign.
fn campaign(description: &str, more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let headers = [("etag", header("Campaign-ETag")), ("cache-control", constant("no-store"))];
    let headers = headers.into_iter().chain(rates()).chain(more);
    answers::json(description, "Campaign", schemas::campaign_example(), headers)
}

fn create(end: &str, note: &str) -> Value {
    let codes = [&TOKEN[..], &BODY, &COMMAND];
    let location =
        required("The path of the campaign.", json!({"type": "string", "pattern": "^/campaigns/[1-9][0-9]*$"}));
    let good = json!({
        "201": campaign("The new campaign.", [("location", location)]),
        "200": campaign("The campaign that the caller has created with this `external_id` before, as it is now.", [])
    });
    let description = format!(
        "The caller becomes its owner. With an `external_id` the call may be repeated: the campaign is created once. \
         The body may have up to {MAX_BODY} bytes; members that are null count as absent."
    );
    operation(
        &format!("createCampaign{end}"),
        "Creates a campaign",
        &description,
        note,
        json!({
            "parameters": parameters(["Content-Encoding", "X-Request-Id", "X-Correlation-Id"]),
            "requestBody": {"required": true, "content": {
                "application/json": {"schema": schema("NewCampaign"), "examples": schemas::new_campaigns()}
            }},
            "responses": answers(good, &codes, &rated(&codes))
        }),
    )
}

fn list(end: &str, note: &str) -> Value {
    let codes = [&TOKEN[..], &READ, &[Code::BAD_REQUEST]];
    let headers = [("cache-control", constant("no-store"))].into_iter().chain(rates());
    let example = json!({"campaigns": [schemas::campaign_example()], "next": 1});
    let good = json!({"200": answers::json("A page, by id.", "Campaigns", example, headers)});
    operation(
        &format!("listCampaigns{end}"),
        "Lists campaigns",
        "",
        note,
        json!({
            "parameters": parameters(["CampaignsAfter", "CampaignsLimit", "CampaignsStatus", "X-Request-Id"]),
            "responses": answers(good, &codes, &rated(&codes))
        }),
    )
}

fn show(end: &str, note: &str) -> Value {
    let codes = [&TOKEN[..], &READ, &[CAMPAIGN_NOT_FOUND]];
    let good = json!({"200": campaign("The campaign, with its money as it is now.", [])});
    operation(
        &format!("showCampaign{end}"),
        "Shows a campaign",
        "",
        note,
        json!({
            "parameters": parameters(["CampaignId", "X-Request-Id"]),
            "responses": answers(good, &codes, &rated(&codes))
        }),
    )
}

/// The errors of a change, beside those of its body.
const CHANGE: [Code; 4] = [CAMPAIGN_NOT_FOUND, Code::PRECONDITION_FAILED, CAMPAIGN_ENDED, BUDGET_BELOW_SPEND];

fn change(end: &str, note: &str) -> Value {
    let codes = [&TOKEN[..], &BODY, &COMMAND, &CHANGE, &[Code::PRECONDITION_REQUIRED]];
    let good = json!({"200": campaign("The changed campaign.", [])});
    let content = PATCH_TYPES.map(|media_type| {
        (
            media_type.to_owned(),
            json!({"schema": schema("CampaignPatch"), "example": {"total_budget": "6", "daily_budget": null}}),
        )
    });
    let description = "A JSON merge patch (RFC 7396): null removes a member, which then has its default. A budget can \
        be lowered to what is spent and reserved, and no further (409 `budget_below_spend`, whose `least` is the least \
        that can be sent now for the first budget in `errors`). A lower cap holds for impressions that are accepted \
        afterwards. The time zone is fixed once an event came while the campaign ran. A campaign whose `status` is \
        `ended` cannot be changed; one whose `ends_at` has passed can, and goes on if that is moved.";
    operation(
        &format!("changeCampaign{end}"),
        "Changes the terms of a campaign",
        description,
        note,
        json!({
            "parameters":
                parameters(["CampaignId", "If-Match", "Content-Encoding", "X-Request-Id", "X-Correlation-Id"]),
            "requestBody": {"required": true, "content": Value::Object(content.into_iter().collect())},
            "responses": answers(good, &codes, &rated(&codes))
        }),
    )
}

fn set_status(status: Status) -> Value {
    let (id, summary) = match status {
        Status::Paused => ("pauseCampaign", "Pauses a campaign"),
        Status::Ended => ("endCampaign", "Ends a campaign, for good"),
        Status::Draft | Status::Active => ("resumeCampaign", "Starts a campaign, or resumes it"),
    };
    let mut codes = [&TOKEN[..], &COMMAND, &[CAMPAIGN_NOT_FOUND, Code::PRECONDITION_FAILED]].concat();
    if status != Status::Ended {
        codes.push(CAMPAIGN_ENDED);
    }
    let good = json!({"200": campaign("The campaign; unchanged if it had this status already.", [])});
    let description = "It takes hold within a second or so: events that are accepted until then count.";
    operation(
        id,
        summary,
        description,
        "",
        json!({
            "parameters": parameters(["CampaignId", "Optional-If-Match", "X-Request-Id", "X-Correlation-Id"]),
            "responses": answers(good, &[&codes], &rated(&[&codes]))
        }),
    )
}
