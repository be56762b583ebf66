//! `GET /campaigns`: the campaigns that a caller sees, by id, in pages.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use shared::ads::queries::campaigns::{self, Campaigns};
use shared::ads::{CampaignId, Status};
use tokio::time::Instant;

use crate::ads::commands::{Commands, JSON, failed};
use crate::ads::rights;
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::response_budget::{in_time, within_budget};

/// Campaigns on a page, if the caller sets no limit.
pub(in crate::ads) const DEFAULT_LIMIT: u16 = 50;
pub(in crate::ads) const MAX_LIMIT: u16 = 100;

/// Responds with a page of a list. Errors: 401 and 403 before it is read, 400, and 503.
pub(super) async fn show(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (parts, _) = request.into_parts();
    let response = in_time(deadline, look(&commands, &parts, deadline)).await??;
    within_budget(&commands.backbone.answers, response).await
}

async fn look(commands: &Commands, parts: &Parts, deadline: Instant) -> Result<Response, Problem> {
    let caller = commands.caller(parts, deadline).await?;
    let Query { after, limit, status } = Query::of(&Parameters::of(&parts.uri))?;
    let page = campaigns::list(&commands.backbone.store, rights::viewer(&caller), after, limit, status).await;
    Ok(answer(&page.map_err(|failure| failed(&failure, "list the campaigns"))?))
}

/// Writes a page as JSON. Its campaigns are JSON already.
fn answer(Campaigns { page, next }: &Campaigns) -> Response {
    let campaigns: Vec<&str> = page.iter().map(|shown| shown.body.as_str()).collect();
    let next = next.map_or("null".to_owned(), |next| next.to_string());
    let mut response = format!(r#"{{"campaigns":[{}],"next":{next}}}"#, campaigns.join(",")).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Debug, PartialEq, Eq)]
struct Query {
    after: Option<CampaignId>,
    limit: u16,
    status: Option<Status>,
}

impl Query {
    fn of(given: &Parameters<'_>) -> Result<Self, Problem> {
        let limit = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        let status = format!("one of {}", Status::NAMES.join(", "));
        Ok(Self {
            after: given.get("after", "the `next` of an earlier page", |text| text.parse().ok())?,
            limit: given.get("limit", "a number from 1 to 100", limit)?.unwrap_or(DEFAULT_LIMIT),
            status: given.get("status", &status, |text| text.parse().ok())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query() {
        let query = |text: &str| Query::of(&Parameters::of(&format!("/campaigns?{text}").parse().unwrap()));
        let own = |after: i64, limit, status| Query { after: CampaignId::try_from(after).ok(), limit, status };
        for (text, expected) in [
            ("", own(0, 50, None)),
            ("after=7&limit=1&_=1", own(7, 1, None)),
            ("limit=100&status=draft", own(0, 100, Some(Status::Draft))),
        ] {
            assert_eq!(query(text).unwrap(), expected, "{text}");
        }
        for (text, name) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("after=0", "after"),
            ("after=-1", "after"),
            ("after=x", "after"),
            ("status=running", "draft, active, paused, ended"),
            ("status=", "status"),
            ("status=draft&status=draft", "status"),
        ] {
            let problem = String::from_utf8(query(text).unwrap_err().body("r")).unwrap();
            assert!(problem.contains(name) && problem.contains("bad_request"), "{text}: {problem}");
        }
    }
}
