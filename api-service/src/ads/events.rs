//! `POST /ad-events`, `POST /ad-events/batch`: impressions, clicks and conversions.

use std::sync::Arc;

use serde::Serialize;
use shared::ads::{AdEvent, AdEventType, AdSubject, AdSubmission, Nanos};
use shared::kafka::Outgoing;
use shared::kafka::ids::EventId;
use shared::runtime::json::BodyError;
use shared::runtime::rfc3339;
use shared::runtime::sabotage::makes;
use time::OffsetDateTime;

use super::admission::{Admission, Asks, Charged, Verdict};
use super::rights::role;
use crate::auth::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::subject::{About, Subject, SubjectKind, subject_kind};
use crate::ingest::producer::Outcome;
use crate::ingest::{self, Done, Ingest, Item};

/// The kind of subject of an ad event: the field `campaign_user` of the log.
static SUBJECT: SubjectKind = subject_kind!(campaign_user);

/// The roles that may send ad events of every user.
const SENDERS: &[&str] = &[role::ADMIN, role::TRACKER];
/// The roles that may send ad events.
const ALL_SENDERS: &[&str] = &[role::ADMIN, role::TRACKER, role::DEVICE];

/// Accepts ad events.
#[derive(Clone)]
pub(super) struct Ads {
    pub(super) admission: Arc<Admission>,
    /// The caller of a request without a token, if it may come.
    pub(super) anonymous: Option<Arc<Caller>>,
}

/// An event that was charged to its campaign.
pub(super) struct Admitted {
    event: AdEvent,
    id: EventId,
    occurred_at: Option<OffsetDateTime>,
    charged: Charged,
}

/// What the 202 of a single event says of it.
#[derive(Serialize)]
pub(super) struct Answer {
    campaign_id: i64,
    user_id: String,
    event_type: &'static str,
    /// When it was accepted.
    ts: String,
    /// The campaign's day to which it belongs.
    day: String,
    cost: Nanos,
}

impl Ingest for Ads {
    type Submission = AdSubmission;
    type Admitted = Admitted;
    type Answer = Answer;

    const SUBJECT: &'static SubjectKind = &SUBJECT;

    fn anonymous(&self) -> Option<Arc<Caller>> {
        self.anonymous.clone()
    }

    fn authorize(&self, caller: &Caller) -> Result<(), Problem> {
        caller.needs_any(ALL_SENDERS)
    }

    fn parse(&self, item: Item<'_>) -> Result<AdSubmission, BodyError> {
        match item {
            Item::Plain(_, value) => AdSubmission::parse_value(value),
            item => item.cloud_event().and_then(AdSubmission::of_cloud_event),
        }
    }

    async fn admit(&self, caller: &Caller, events: Vec<AdSubmission>) -> Vec<ingest::Admission<Admitted, Answer>> {
        let named: Vec<_> = events
            .into_iter()
            .map(|event| {
                let id = event.event_id.clone().unwrap_or_else(EventId::generate);
                (event, id)
            })
            .collect();
        let rights: Vec<_> = named.iter().map(|(event, id)| may_send(caller, event, id)).collect();
        let allowed = named.iter().zip(&rights).filter(|(_, right)| right.is_ok());
        let asks: Vec<_> = allowed.map(|((event, id), _)| asks(event, id)).collect();
        let mut verdicts = self.admission.admit(&asks).await.into_iter();
        let answered = named.into_iter().zip(rights).map(|((event, id), right)| match right {
            Ok(()) => answered(event, id, verdicts.next()),
            Err(problem) => ingest::Admission::Refuse(problem),
        });
        answered.collect()
    }

    fn answer(&self, Admitted { event, .. }: &Admitted, accepted_at: OffsetDateTime) -> Answer {
        Answer {
            campaign_id: event.campaign.get(),
            user_id: event.user.as_str().to_owned(),
            event_type: event.event_type.name(),
            ts: micros(accepted_at),
            day: event.day.to_string(),
            cost: event.cost,
        }
    }

    fn record(&self, admitted: &Admitted, accepted_at: OffsetDateTime) -> Outgoing {
        let occurred_at = admitted.occurred_at.unwrap_or(accepted_at);
        admitted.event.outgoing(admitted.id.clone(), accepted_at, occurred_at)
    }

    fn settle(&self, admitted: Admitted, outcome: Outcome) -> Result<(), (Code, &'static str)> {
        if outcome.is_refusal() {
            self.admission.take_back(admitted.charged);
        } else if outcome.verdict().is_err() && makes("reused-unit") {
            self.admission.take_back(admitted.charged.without_entry());
        }
        outcome.verdict()
    }
}

/// A device sends events of the user who it is, and no conversions: these are worth money.
fn may_send(caller: &Caller, event: &AdSubmission, id: &EventId) -> Result<(), Problem> {
    if caller.has_any(SENDERS) {
        return Ok(());
    }
    let detail = if event.user.as_str() != caller.subject {
        "with the role device, the user_id must be the token's sub"
    } else if event.event_type == AdEventType::Conversion {
        "with the role device, conversions cannot be sent"
    } else {
        return Ok(());
    };
    Err(Problem::new(Code::FORBIDDEN, detail).logged_about(about(event, id)))
}

fn asks<'a>(event: &'a AdSubmission, id: &'a EventId) -> Asks<'a> {
    let &AdSubmission { campaign, ref user, event_type, ref event_id, .. } = event;
    Asks { campaign, user, event_type, id, is_named: event_id.is_some() }
}

fn answered(event: AdSubmission, id: EventId, verdict: Option<Verdict>) -> ingest::Admission<Admitted, Answer> {
    let charged = match verdict {
        Some(Verdict::Admitted(charged)) => charged,
        Some(Verdict::Stored(stored)) => {
            let about = about(&event, &id);
            let answer = Answer {
                campaign_id: event.campaign.get(),
                user_id: stored.user,
                event_type: stored.event_type.name(),
                ts: micros(stored.accepted_at),
                day: stored.day.to_string(),
                cost: stored.cost,
            };
            return ingest::Admission::Done(Done { about, answer });
        }
        Some(Verdict::Refused(refused)) => return ingest::Admission::Refuse(refused.problem(about(&event, &id))),
        None => return ingest::Admission::Refuse(Problem::new(Code::INTERNAL, Code::INTERNAL.title())),
    };
    let AdSubmission { campaign, user, event_type, occurred_at, data, .. } = event;
    let lease = charged.lease().map(str::to_owned);
    let event = AdEvent { campaign, user, event_type, lease, day: charged.day, cost: charged.cost, data };
    ingest::Admission::Send(Admitted { event, id, occurred_at, charged })
}

fn about(event: &AdSubmission, id: &EventId) -> About {
    let subject = AdSubject { campaign: event.campaign, user: event.user.clone() };
    About { subject: Some(Subject::new(&SUBJECT, subject.key())), event_id: Some(id.clone()) }
}

/// As PostgreSQL has it.
fn micros(at: OffsetDateTime) -> String {
    rfc3339::format(at.replace_nanosecond(at.microsecond() * 1_000).unwrap_or(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(roles: &[&str]) -> Caller {
        let roles = roles.iter().map(|&role| role.to_owned()).collect();
        Caller { subject: "u1".to_owned(), is_anonymous: false, ..Caller::anonymous(roles) }
    }

    #[test]
    fn a_device_sends_its_own_impressions_and_clicks() {
        let refused = |roles: &[&str], user: &str, event_type: &str| {
            let json = format!(r#"{{"campaign_id":1,"user_id":"{user}","event_type":"{event_type}"}}"#);
            let event = AdSubmission::parse_value(serde_json::from_str(&json).unwrap()).unwrap();
            may_send(&caller(roles), &event, &EventId::generate()).err().map(|problem| problem.code)
        };
        for event_type in ["impression", "click"] {
            assert_eq!(refused(&["device"], "u1", event_type), None);
            assert_eq!(refused(&["device"], "u2", event_type), Some(Code::FORBIDDEN));
        }
        assert_eq!(refused(&["device"], "u1", "conversion"), Some(Code::FORBIDDEN));
        for role in ["tracker", "admin"] {
            assert_eq!(refused(&[role], "u2", "conversion"), None);
            assert_eq!(refused(&["device", role], "u2", "conversion"), None);
        }
    }

    #[test]
    fn times_have_microseconds() {
        let at = time::macros::datetime!(2026-11-26 10:00:00.123456789 UTC);
        assert_eq!(micros(at), "2026-11-26T10:00:00.123456Z");
    }
}
