use proptest::prelude::*;

use super::*;

/// A batch of events with these codes. Those of 503 are Kafka's, the others refuse an event before it is sent.
fn batch(codes: &[Option<Code>]) -> Batch {
    let (mut batch, mut outcomes) = (Batch::default(), Vec::new());
    for code in codes.iter().copied() {
        match code {
            Some(code) if code.status() != StatusCode::SERVICE_UNAVAILABLE => {
                batch.refuse(Refusal::of(&Problem::new(code, code.title())));
            }
            _ => {
                batch.wait_for(About::default());
                outcomes.push(code.map_or(Ok(()), |code| Err((code, ""))));
            }
        }
    }
    batch.settle(outcomes.into_iter());
    batch
}

/// The status of the answer, and its `Retry-After`.
fn answer(codes: &[Option<Code>], handling: Option<Handling>) -> (u16, Option<u32>) {
    match batch(codes).answer("r", handling) {
        Ok(response) => (response.status().as_u16(), None),
        Err(problem) => (problem.code.status().as_u16(), problem.retry_after),
    }
}

#[test]
fn a_lenient_answer_has_the_status_that_lets_the_sender_do_the_right_thing() {
    let (good, bad, foreign) = (None, Some(Code::INVALID_EVENT), Some(Code::FORBIDDEN));
    let (limited, full, unknown) = (Some(Code::RATE_LIMITED), Some(Code::QUEUE_FULL), Some(Code::OUTCOME_UNKNOWN));
    for (codes, each, lenient) in [
        (&[good, good][..], (202, None), (202, None)),
        (&[bad, bad], (422, None), (202, None)),
        (&[good, bad, foreign], (207, None), (202, None)),
        (&[good, full], (207, None), (503, Some(1))),
        (&[full, full], (503, Some(1)), (503, Some(1))),
        (&[bad, limited, good], (207, None), (429, Some(1))),
        (&[limited, limited], (429, Some(1)), (429, Some(1))),
        (&[limited, unknown, full], (207, None), (503, Some(1))),
        (&[good, Some(Code::INTERNAL)], (207, None), (500, None)),
        (&[Some(Code::INTERNAL), limited], (207, None), (429, Some(1))),
    ] {
        assert_eq!((answer(codes, None), answer(codes, Some(Handling::Lenient))), (each, lenient), "{codes:?}");
    }
}

const CONFLICT: Code = Code::new(StatusCode::CONFLICT, "spent", "Spent");
const CLOSED: Code = Code::new(StatusCode::CONFLICT, "closed", "Closed");
const CAPPED: Code = Code::new(StatusCode::TOO_MANY_REQUESTS, "capped", "Capped");
/// Refused until the next day, for good.
const OVER: Code = Code::new(StatusCode::TOO_MANY_REQUESTS, "over", "Over");
const UNAVAILABLE: Code = Code::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable");

/// A batch of events that a domain refuses with these codes and waits, or accepts.
fn refused(all: &[Option<(Code, Option<u32>)>]) -> Batch {
    let mut batch = Batch::default();
    for one in all {
        match one {
            Some((code, wait)) => {
                let problem = Problem::new(*code, "");
                let problem = if *code == OVER { problem.for_good() } else { problem };
                batch.refuse(Refusal::of(&wait.map_or(problem.clone(), |wait| problem.retry_after(wait))));
            }
            None => batch.accept(About::default()),
        }
    }
    batch
}

#[test]
fn what_a_domain_refuses_keeps_its_code_and_its_wait() {
    let (spent, closed) = (Some((CONFLICT, Some(60))), Some((CLOSED, None)));
    let (capped, unavailable) = (Some((CAPPED, Some(3_600))), Some((UNAVAILABLE, Some(1))));
    let (over, spent_for_good) = (Some((OVER, Some(80_000))), Some((CONFLICT, None)));
    let told = |batch: Batch, handling| match batch.answer("r", handling) {
        Ok(response) => (response.status().as_u16(), "", None),
        Err(problem) => (problem.code.status().as_u16(), problem.code.as_str(), problem.retry_after),
    };
    for (all, each, lenient) in [
        (&[spent, spent][..], (409, "spent", Some(60)), (429, "retry_later", Some(60))),
        (&[closed, closed], (409, "closed", None), (202, "", None)),
        // Two results, which the answer tells apart.
        (&[spent, closed], (207, "", None), (429, "retry_later", Some(60))),
        (&[spent, spent_for_good], (207, "", None), (429, "retry_later", Some(60))),
        (&[spent_for_good, spent_for_good], (409, "spent", None), (202, "", None)),
        (&[capped, capped], (429, "capped", Some(3_600)), (429, "capped", Some(3_600))),
        (&[capped, spent], (207, "", None), (429, "capped", Some(3_600))),
        (&[None, spent], (207, "", None), (429, "retry_later", Some(60))),
        // A final refusal needs no retry, so the batch is accepted, and the answer lists the refused events.
        (&[over, over], (429, "over", Some(80_000)), (202, "", None)),
        (&[over, None], (207, "", None), (202, "", None)),
        (&[over, spent, None], (207, "", None), (429, "retry_later", Some(60))),
        (&[over, capped], (207, "", None), (429, "capped", Some(3_600))),
        (&[over, unavailable], (207, "", None), (503, "unavailable", Some(1))),
        // Nobody has to wait for the cap with what is unavailable for a second.
        (&[capped, unavailable, spent], (207, "", None), (503, "unavailable", Some(1))),
        (&[None, None], (202, "", None), (202, "", None)),
    ] {
        assert_eq!((told(refused(all), None), told(refused(all), Some(Handling::Lenient))), (each, lenient), "{all:?}");
    }
    let items = serde_json::to_value(refused(&[capped, closed, None]).items).unwrap();
    let expected = serde_json::json!([
        {"index": 0, "status": 429, "code": "capped", "retry_after": 3_600},
        {"index": 1, "status": 409, "code": "closed"},
        {"index": 2, "status": 202},
    ]);
    assert_eq!(items, expected);
}

#[test]
fn a_repeat_is_accepted_whatever_kafka_says_of_the_others() {
    let mut batch = Batch::default();
    batch.accept(About::default());
    batch.wait_for(About::default());
    batch.accept(About::default());
    batch.wait_for(About::default());
    batch.settle([Err((Code::QUEUE_FULL, "")), Ok(())].into_iter());
    assert_eq!(batch.items.iter().map(|item| item.status).collect::<Vec<_>>(), [202, 503, 202, 202]);
}

#[test]
fn the_longest_wait_of_an_event_is_the_batchs() {
    let mut batch = Batch::default();
    for seconds in [3, 20, 7] {
        batch.refuse(Refusal::of(&Problem::new(Code::RATE_LIMITED, "").retry_after(seconds)));
    }
    assert_eq!(batch.answer("r", None).unwrap_err().retry_after, Some(20));
}

proptest! {
    #[test]
    fn a_lenient_batch_succeeds_exactly_if_nothing_is_to_be_sent_again(
        picks in prop::collection::vec(prop::option::of(0..Code::BACKBONE.len()), 1..12),
    ) {
        let codes: Vec<_> = picks.into_iter().map(|pick| pick.map(|pick| Code::BACKBONE[pick])).collect();
        let (status, wait) = answer(&codes, Some(Handling::Lenient));
        let temporary = |code: &Code| matches!(code.status().as_u16(), 429 | 500 | 503);
        if codes.iter().flatten().any(temporary) {
            prop_assert!(codes.iter().flatten().any(|code| temporary(code) && code.status().as_u16() == status));
            prop_assert_eq!(wait.is_some(), status != 500, "{}", status);
        } else {
            prop_assert_eq!((status, wait), (202, None));
        }
    }
}
