//! Campaigns: advertisers make, list, show and change them.

mod change;
mod create;
mod faults;
mod list;
mod show;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use shared::ads::queries::campaigns::{Actor, Shown};
use shared::ads::{CampaignId, Status};
use shared::kafka::Cause;

use super::commands::{Commands, JSON};
use super::rights;
use crate::auth::Caller;
use crate::backbone::json_body::JsonCall;
use crate::http::problem::{Code, Problem};
use crate::http::rate::Kind;
use crate::http::{Route, correlation};

pub(super) use self::list::{DEFAULT_LIMIT, MAX_LIMIT};

pub(super) const CAMPAIGNS: &str = "/campaigns";
pub(super) const CAMPAIGN: &str = "/campaigns/{id}";
/// Some clients write a slash at the end.
pub(super) const WITH_SLASH: [&str; 2] = ["/campaigns/", "/campaigns/{id}/"];
/// A path for each change of the status alone.
pub(super) const STATUSES: [(&str, Status); 3] = [
    ("/campaigns/{id}/pause", Status::Paused),
    ("/campaigns/{id}/resume", Status::Active),
    ("/campaigns/{id}/end", Status::Ended),
];

/// The media types of a change.
pub(super) const PATCH_TYPES: [&str; 2] = ["application/merge-patch+json", "application/json"];
/// Longer than the longest terms, with escapes.
pub(super) const MAX_BODY: usize = 256 * 1024;

pub(super) fn routes(commands: &Commands) -> Vec<Route> {
    let [all_slash, one_slash] = WITH_SLASH;
    let all = || get(list::show).post(create::create).with_state(commands.clone());
    let one = || get(show::show).patch(change::patch).with_state(commands.clone());
    let mut routes = vec![(CAMPAIGNS, all()), (all_slash, all()), (CAMPAIGN, one()), (one_slash, one())];
    routes.extend(STATUSES.map(|(path, status)| {
        let commands = commands.clone();
        (path, post(move |request: Request| change::set_status(commands.clone(), request, status)))
    }));
    routes
}

impl Commands {
    /// A call with a body of one of these media types.
    fn call(&self, types: &'static [&'static str]) -> JsonCall<'_> {
        JsonCall { types, limit: MAX_BODY, cost: (Kind::Reads, 1), anonymous: self.anonymous.as_ref(), services: None }
    }
}

/// The cause of the events of a command.
fn cause(caller: &Caller, parts: &Parts) -> Cause {
    correlation::cause(parts, rights::owner(caller))
}

/// Who makes a change, for its record.
fn actor<'a>(caller: &'a Caller, cause: &'a Cause) -> Actor<'a> {
    Actor { subject: rights::owner(caller), request_id: cause.request_id.as_deref(), cause }
}

/// The entity tag of a campaign: its terms have this revision. Its money changes without a new one, so that no answer
/// may be kept, and none is 304: the tag is for `If-Match`.
fn tag(revision: i64) -> String {
    format!("\"{revision}\"")
}

fn answer(status: StatusCode, shown: Shown) -> Response {
    let tag = HeaderValue::try_from(tag(shown.revision));
    let mut response = (status, Bytes::from(shown.body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(tag) = tag {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// The id of a campaign that PostgreSQL has numbered.
fn id_of(shown: &Shown) -> Result<CampaignId, Problem> {
    CampaignId::try_from(shown.id).map_err(|_| Problem::new(Code::INTERNAL, Code::INTERNAL.title()))
}
