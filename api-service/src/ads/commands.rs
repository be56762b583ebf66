//! What the calls about campaigns and their reports have in common.

use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::request::Parts;
use shared::ads::CampaignId;
use shared::kafka::ids::Key;
use shared::store::Failure;
use tokio::time::Instant;

use super::codes::CAMPAIGN_NOT_FOUND;
use super::rights::MANAGERS;
use crate::auth::Caller;
use crate::backbone::Backbone;
use crate::cached::in_path;
use crate::http::problem::{Code, Problem};
use crate::http::subject::{About, Subject, SubjectKind, subject_kind};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The kind of subject of a campaign: the field `campaign_id` of the log.
static CAMPAIGN: SubjectKind = subject_kind!(campaign_id);

#[derive(Clone)]
pub(super) struct Commands {
    pub backbone: Arc<Backbone>,
    /// The caller of a request without a token, if it may come.
    pub anonymous: Option<Arc<Caller>>,
}

impl Commands {
    /// The caller of a request without a body. It must be one that manages campaigns.
    pub(super) async fn caller(&self, parts: &Parts, deadline: Instant) -> Result<Arc<Caller>, Problem> {
        let may = |caller: &Caller| caller.needs_any(MANAGERS);
        self.backbone.reader_or(parts, deadline, self.anonymous.as_ref(), may).await
    }
}

/// The campaign in the path; 404 if it cannot be one.
pub(super) async fn campaign_in_path(parts: &mut Parts) -> Result<CampaignId, Problem> {
    in_path(parts).await.map_err(|_| not_found())
}

/// There is no such campaign, or the caller may not see it: the answer is the same.
pub(super) fn not_found() -> Problem {
    Problem::new(CAMPAIGN_NOT_FOUND, CAMPAIGN_NOT_FOUND.title())
}

pub(super) fn about(id: CampaignId) -> About {
    About::subject(Subject::new(&CAMPAIGN, Key::from(id.to_string())))
}

/// PostgreSQL failed. A refused statement is a fault of this service, and would be refused again.
pub(super) fn failed(failure: &Failure, what: &'static str) -> Problem {
    if failure.class.is_outage() || failure.class == shared::store::Class::Again {
        tracing::warn!(error = %failure, "cannot {what}");
        return Problem::new(Code::STORE_UNAVAILABLE, "try again later");
    }
    tracing::error!(error = %failure, "cannot {what}");
    Problem::new(Code::INTERNAL, Code::INTERNAL.title())
}
