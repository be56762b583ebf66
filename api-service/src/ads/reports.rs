//! `GET /report/campaign/{id}`: what the events of a campaign have come to. The whole report, by day, comes from the
//! cache; parts of it, hours, and CSV come from PostgreSQL.

mod csv;
mod owners;
mod query;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use shared::ads::CampaignId;
use shared::ads::queries::{self, Part, Report};
use shared::store::Loaded;

use self::owners::Owners;
pub(super) use self::query::FIRST_DAY;
use super::commands::{Commands, about, campaign_in_path, failed, not_found};
use super::rights;
use crate::http::accept::prefers;
use crate::http::problem::{Code, Problem};
use crate::http::response_budget::{in_time, within_budget};
use crate::http::{Route, is_fresh};

pub(super) const REPORT: &str = "/report/campaign/{id}";
/// Some clients write a slash at the end.
pub(super) const REPORT_WITH_SLASH: &str = "/report/campaign/{id}/";

struct Reports {
    commands: Commands,
    owners: Owners,
}

pub(super) fn routes(commands: Commands) -> Vec<Route> {
    let reports = Arc::new(Reports { owners: Owners::new(commands.backbone.store.clone()), commands });
    [REPORT, REPORT_WITH_SLASH].map(|path| (path, get(show).with_state(Arc::clone(&reports)))).to_vec()
}

/// Responds with a report. Errors: 401 and 403 before it is read, 400, 404, and 503.
async fn show(State(reports): State<Arc<Reports>>, request: Request) -> Result<Response, Problem> {
    let deadline = reports.commands.backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    let caller = reports.commands.caller(&parts, deadline).await?;
    let id = campaign_in_path(&mut parts).await?;
    let part = query::part(&parts.uri)?;
    reports.owners.allow(id, rights::viewer(&caller), deadline).await?;
    let as_csv = prefers(&parts.headers, csv::MEDIA_TYPE, "application/json");
    let shown = if part == Part::default() && !as_csv {
        reports.commands.backbone.cached.show(&id.cache_key(), &parts.headers, deadline, about(id)).await
    } else {
        // Boxed: the future is large, and every hit would carry it along.
        in_time(deadline, Box::pin(reports.read(id, part, as_csv, &parts))).await?
    };
    let mut response = shown?;
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

impl Reports {
    /// A report past the cache.
    async fn read(&self, id: CampaignId, part: Part, as_csv: bool, parts: &Parts) -> Result<Response, Problem> {
        let backbone = &self.commands.backbone;
        let found = queries::report(&backbone.store, id, part).await;
        let loaded = match found.map_err(|failure| failed(&failure, "read a report").logged_about(about(id)))? {
            Some(Report::Whole(loaded)) => loaded,
            Some(Report::TooLong) => return Err(query::too_long().logged_about(about(id))),
            None => return Err(not_found().logged_about(about(id))),
        };
        let mut response = if as_csv {
            as_csv_of(&loaded, &parts.headers, part).map_err(|error| {
                tracing::error!(campaign_id = %id, %error, "cannot write a report");
                Problem::new(Code::INTERNAL, Code::INTERNAL.title()).logged_about(about(id))
            })?
        } else {
            backbone.cached.show_loaded(loaded, &parts.headers, about(id))
        };
        response.extensions_mut().insert(about(id));
        within_budget(&backbone.answers, response).await
    }
}

/// The rows of a report as CSV. Its entity tag is not that of the JSON at the same address.
fn as_csv_of(loaded: &Loaded, headers: &HeaderMap, part: Part) -> anyhow::Result<Response> {
    let body = csv::Body::of(&loaded.body)?;
    let tag = HeaderValue::try_from(format!("\"{}-{}-csv\"", loaded.version, body.updated_at))?;
    let mut response = if is_fresh(headers, tag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = body.write(part.by)?.into_response();
        let media_type = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        response
    };
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}
