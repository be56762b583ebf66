//! What is wrong with a campaign, or with a change of one, for the caller.

use bytes::Bytes;
use shared::ads::queries::campaigns::{ChangeError, UNKNOWN_ZONE, ZONE, is_zone};
use shared::runtime::json::members::{Members, parsed};
use shared::runtime::json::{BodyError, Fault, json};
use shared::store::Store;

use crate::ads::codes::{BUDGET_BELOW_SPEND, CAMPAIGN_ENDED, INVALID_CAMPAIGN};
use crate::ads::commands::{failed, not_found};
use crate::http::problem::{Code, Problem};

const SEE_ERRORS: &str = "see errors for what is wrong with it";

/// The problem of a body with faults. Only PostgreSQL knows the time zones, and it is asked even so: every fault is
/// reported at once. If it does not answer, the others are.
pub(super) async fn of_body(store: &Store, body: &Bytes, mut error: BodyError) -> Problem {
    if let BodyError::NotAnEvent(faults) = &mut error
        && !faults.iter().any(|fault| fault.pointer == ZONE)
        && let Some(zone) = zone(body)
        && let Ok(false) = is_zone(store, &zone).await
    {
        faults.push(Fault { pointer: ZONE.to_owned(), detail: UNKNOWN_ZONE.to_owned() });
    }
    Problem::of_body(error, INVALID_CAMPAIGN, SEE_ERRORS)
}

/// The time zone in a body, if it is a text.
fn zone(body: &Bytes) -> Option<String> {
    let members = Members::of(json(body).ok()?, "", &["timezone"], |_| None).ok()?;
    parsed(members.given("timezone")?).ok()
}

/// The problem of a campaign that was not created, or not changed.
pub(super) fn of_change(error: ChangeError) -> Problem {
    match error {
        ChangeError::NotFound => not_found(),
        ChangeError::Stale => {
            let detail = "If-Match does not name the current ETag: read the campaign again";
            Problem::new(Code::PRECONDITION_FAILED, detail)
        }
        ChangeError::Faults(faults) => Problem::new(INVALID_CAMPAIGN, SEE_ERRORS).with_errors(faults),
        ChangeError::Ended => Problem::new(CAMPAIGN_ENDED, "a campaign that has ended cannot be changed any more"),
        ChangeError::BelowSpend(budgets) => {
            let least = budgets.first().map(|first| first.least).unwrap_or_default();
            let faults: Vec<_> = budgets.into_iter().map(Fault::from).collect();
            let said: Vec<_> = faults
                .iter()
                .map(|fault| format!("{} {}", fault.pointer.trim_start_matches('/'), fault.detail))
                .collect();
            let problem = Problem::new(BUDGET_BELOW_SPEND, said.join("; "));
            problem.with_member("least", least.to_string()).with_errors(faults)
        }
        ChangeError::Store(failure) => failed(&failure, "write a campaign"),
    }
}

#[cfg(test)]
mod tests {
    use shared::ads::Nanos;
    use shared::ads::queries::campaigns::BelowSpend;

    use super::*;

    #[test]
    fn the_zone_of_a_body_whatever_else_is_in_it() {
        for (body, expected) in [
            (r#"{"timezone":"Mars/Base","x":1,"name":7}"#, Some("Mars/Base")),
            (r#"{"timezone":"UTC","timezone":"x"}"#, Some("UTC")),
            (r#"{"timezone":null}"#, None),
            (r#"{"timezone":7}"#, None),
            ("[]", None),
            ("{", None),
        ] {
            assert_eq!(zone(&Bytes::from_static(body.as_bytes())).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn a_budget_that_is_too_low_is_told_the_least() {
        let least = Nanos::new(2_510_001_000);
        let budgets = [("/total_budget", least), ("/daily_budget", Nanos::new(1_000_000_000))];
        let budgets = budgets.map(|(pointer, least)| BelowSpend { pointer, least });
        let problem = of_change(ChangeError::BelowSpend(budgets.to_vec()));
        let body: serde_json::Value = serde_json::from_slice(&problem.body("r")).unwrap();
        assert_eq!((&body["status"], &body["least"]), (&409.into(), &"2.510001".into()), "that of the first one");
        let details =
            ["2.510001", "1"].map(|least| format!("must be at least {least}, because of what is spent and reserved"));
        assert_eq!(body["detail"], format!("total_budget {}; daily_budget {}", details[0], details[1]));
        let errors = serde_json::json!([
            {"pointer": "/total_budget", "detail": details[0]}, {"pointer": "/daily_budget", "detail": details[1]}
        ]);
        assert_eq!(body["errors"], errors);
    }
}
