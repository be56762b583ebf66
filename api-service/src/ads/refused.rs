//! Why an ad event is refused, as a problem.

use axum::http::StatusCode;
use metrics::{counter, describe_counter};
use shared::ads::queries::{Scope, State};

use super::admission::{Refusal, Refused};
use super::codes::CAMPAIGN_NOT_FOUND;
use crate::http::problem::{Code, Problem};
use crate::http::subject::About;

pub(super) const FREQUENCY_CAPPED: Code =
    Code::new(StatusCode::TOO_MANY_REQUESTS, "frequency_capped", "The user's cap is reached").as_a_rule();
pub(super) const BUDGET_EXHAUSTED: Code =
    Code::new(StatusCode::CONFLICT, "budget_exhausted", "The campaign's budget is exhausted").as_a_rule();
pub(super) const CAMPAIGN_NOT_ACTIVE: Code =
    Code::new(StatusCode::CONFLICT, "campaign_not_active", "The campaign is not active").as_a_rule();
pub(super) const PACED: Code =
    Code::new(StatusCode::CONFLICT, "paced", "The campaign's pace allows no more now").as_a_rule();
pub(super) const ADMISSION_UNAVAILABLE: Code =
    Code::new(StatusCode::SERVICE_UNAVAILABLE, "admission_unavailable", "The event cannot be admitted now");

/// Those of ad events.
pub(super) const CODES: [Code; 6] =
    [FREQUENCY_CAPPED, BUDGET_EXHAUSTED, CAMPAIGN_NOT_ACTIVE, PACED, CAMPAIGN_NOT_FOUND, ADMISSION_UNAVAILABLE];

const REFUSED: &str = "ads_refused_total";

impl Refused {
    /// Counts it.
    pub(super) fn problem(self, about: About) -> Problem {
        let problem = match self {
            Self::Refusal(refusal) if refusal.waits_for_the_next_day() => refusal.problem().for_good(),
            Self::Refusal(refusal) => refusal.problem(),
            Self::Unchecked(refusal) => refusal.problem().retry_after(1),
            Self::Capped { most, retry_after } => {
                let times = if most == 1 { "an impression".to_owned() } else { format!("{most} impressions") };
                let detail = format!("the user had {times} of the campaign in its day, and gets no more until it ends");
                // Tomorrow it would be another day's impression.
                Problem::new(FREQUENCY_CAPPED, detail).retry_after(retry_after).for_good()
            }
            Self::Unavailable => {
                Problem::new(ADMISSION_UNAVAILABLE, "the event was not accepted; send it again with this event_id")
            }
        };
        counter!(REFUSED, "code" => problem.code.as_str()).increment(1);
        problem.about(about)
    }
}

impl Refusal {
    /// Whether the campaign has nothing left for events of its present day.
    fn waits_for_the_next_day(self) -> bool {
        // One second is the wait for leases that may come back.
        matches!(self, Self::Exhausted { retry_after: Some(seconds), .. } if seconds > 1)
    }

    fn problem(self) -> Problem {
        match self {
            Self::NotFound => Problem::new(CAMPAIGN_NOT_FOUND, CAMPAIGN_NOT_FOUND.title()),
            Self::NotActive(state) => Problem::new(
                CAMPAIGN_NOT_ACTIVE,
                match state {
                    State::Draft => "the campaign is a draft",
                    State::Scheduled { .. } => "the campaign has not started yet",
                    State::Paused => "the campaign is paused",
                    State::Ended => "the campaign has ended",
                    State::Running => "the campaign has just become active",
                },
            ),
            Self::Exhausted { scope, retry_after } => {
                let (scope, budget) = match scope {
                    Scope::Day => ("day", "the campaign's budget of the day"),
                    Scope::Total => ("total", "the campaign's total budget"),
                };
                let detail = format!("{budget} has no room for the event");
                later(Problem::new(BUDGET_EXHAUSTED, detail).with_member("scope", scope), retry_after)
            }
            Self::Paced { retry_after } => {
                let detail = "the campaign has used its share of the day's budget so far";
                Problem::new(PACED, detail).retry_after(retry_after)
            }
        }
    }
}

fn later(problem: Problem, retry_after: Option<u32>) -> Problem {
    match retry_after {
        Some(seconds) => problem.retry_after(seconds),
        None => problem,
    }
}

pub(super) fn describe() {
    describe_counter!(REFUSED, "Ad events refused by their campaigns, by code.");
    for code in CODES {
        counter!(REFUSED, "code" => code.as_str()).increment(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_next_day_has_room_for_is_refused_for_good() {
        let exhausted = |retry_after| Refusal::Exhausted { scope: Scope::Day, retry_after };
        for (refused, wait, is_final) in [
            (Refused::Capped { most: 1, retry_after: 1 }, Some(1), true),
            (Refused::Refusal(exhausted(Some(4_000))), Some(4_000), true),
            (Refused::Refusal(exhausted(Some(1))), Some(1), false),
            // Without a wait it is final anyway.
            (Refused::Refusal(exhausted(None)), None, false),
            (Refused::Refusal(Refusal::Paced { retry_after: 30 }), Some(30), false),
            (Refused::Refusal(Refusal::NotActive(State::Paused)), None, false),
            // Nobody has looked whether it was accepted before.
            (Refused::Unchecked(exhausted(Some(4_000))), Some(1), false),
            (Refused::Unavailable, Some(1), false),
        ] {
            let problem = refused.problem(About::default());
            assert_eq!((problem.retry_after, problem.is_final), (wait, is_final), "{refused:?}");
        }
    }
}
