//! The error codes of campaigns and reports.

use axum::http::StatusCode;

use crate::http::problem::Code;

pub(super) const CAMPAIGN_NOT_FOUND: Code =
    Code::new(StatusCode::NOT_FOUND, "campaign_not_found", "There is no such campaign");
pub(super) const CAMPAIGN_ENDED: Code = Code::new(StatusCode::CONFLICT, "campaign_ended", "The campaign has ended");
pub(super) const BUDGET_BELOW_SPEND: Code =
    Code::new(StatusCode::CONFLICT, "budget_below_spend", "The budget is less than what is spent and reserved");
pub(super) const INVALID_CAMPAIGN: Code =
    Code::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_campaign", "The body is not a valid campaign");
