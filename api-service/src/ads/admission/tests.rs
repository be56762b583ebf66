//! What a request is charged: each unit and each id is in one place, wherever the request ends.

mod desk;

use futures_util::FutureExt as _;
use shared::ads::AdEventType::{Click, Impression};
use shared::ads::AdSubmission;
use shared::ads::queries::Facts;
use time::OffsetDateTime;

use self::desk::{Desk, Event, event, meanwhile};
use super::book::tests::NO_ROOM;
use super::*;
use crate::ads::events::{Admitted, Ads};
use crate::auth::Caller;
use crate::ingest::producer::Outcome;
use crate::ingest::{self, Ingest as _};

/// Before any day, and after the begin of the day of the facts.
const BEFORE: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const AFTER: OffsetDateTime = time::macros::datetime!(2026-11-30 00:00:01 UTC);

fn capped(facts: &mut Facts) {
    facts.cap = Some(1);
}

/// At least as many requests read PostgreSQL's impressions at a time.
const TURNS: usize = 4;

fn uncapped(_: &mut Facts) {}

fn asks(events: &[Event]) -> Vec<Asks<'_>> {
    events.iter().map(Event::asks).collect()
}

/// A short name for each verdict. An admitted event stays charged.
fn in_short(verdicts: &[Verdict]) -> Vec<&'static str> {
    let name = |verdict: &Verdict| match verdict {
        Verdict::Admitted(_) => "admitted",
        Verdict::Stored(_) => "counted",
        Verdict::Refused(Refused::Refusal(Refusal::Exhausted { .. })) => "exhausted",
        Verdict::Refused(Refused::Refusal(_)) => "refused",
        Verdict::Refused(Refused::Unchecked(_)) => "unchecked",
        Verdict::Refused(Refused::Capped { .. }) => "capped",
        Verdict::Refused(Refused::Unavailable) => "unavailable",
    };
    verdicts.iter().map(name).collect()
}

#[tokio::test]
async fn a_request_that_is_given_up_while_it_waits_for_a_lease_is_charged_nothing() {
    let desk = Desk::start().await;
    desk.lease(1, 3, uncapped);
    let events = [event(1, "u", Impression, "a"), event(2, "u", Impression, "b"), event(1, "v", Impression, "c")];
    let all = asks(&events);
    for _ in 0..2 {
        let mut request = Box::pin(desk.admission.admit(&all));
        assert!((&mut request).now_or_never().is_none(), "the second campaign is unknown");
        assert_eq!(desk.units(1, Impression), 1);
        drop(request);
        assert_eq!(desk.units(1, Impression), 3);
    }
    assert_eq!(desk.close(), [("lease of 1".to_owned(), 30)]);
}

#[tokio::test]
async fn a_request_that_is_given_up_while_redis_is_asked_is_charged_nothing() {
    let desk = Desk::start().await;
    desk.prove(BEFORE).await;
    desk.lease(1, 4, capped);
    desk.lease(2, 1, capped);
    desk.lease(3, 1, uncapped);
    let events = [event(3, "u", Impression, "plain"), event(1, "u", Impression, "a")];
    let all = asks(&events);

    // Nothing was sent yet.
    let mut request = Box::pin(desk.admission.admit(&all));
    assert!((&mut request).now_or_never().is_none());
    assert_eq!((desk.units(1, Impression), desk.units(3, Impression)), (3, 0));
    drop(request);
    assert_eq!((desk.units(1, Impression), desk.units(3, Impression)), (4, 1));
    desk.until_all_is_released(2).await;
    assert!(desk.ids().await.is_empty());

    // Redis has the id, and its answer is on its way.
    desk.proxy.hold_answers();
    let mut request = Box::pin(desk.admission.admit(&all));
    meanwhile(&mut request, desk.until_ids_are(&[("a", true)])).await;
    assert_eq!((desk.units(1, Impression), desk.units(3, Impression)), (3, 0));
    drop(request);
    assert_eq!((desk.units(1, Impression), desk.units(3, Impression)), (4, 1));
    desk.proxy.mend();
    desk.until_ids_are(&[]).await;

    // The user had none: there is room for another one.
    let another = event(1, "u", Impression, "b");
    let accepted = desk.admission.admit(&[another.asks()]).await;
    assert_eq!(in_short(&accepted), ["admitted"]);
    let one_more = event(1, "u", Impression, "c");
    assert_eq!(in_short(&desk.admission.admit(&[one_more.asks()]).await), ["capped"]);
    assert_eq!(desk.units(1, Impression), 3, "what the cap refuses costs nothing");

    // A repeat of what was accepted does not take its id away.
    desk.proxy.hold_answers();
    let again = [another.asks()];
    let mut request = Box::pin(desk.admission.admit(&again));
    meanwhile(&mut request, desk.until_ids_are(&[("b", false)])).await;
    drop(request);
    desk.proxy.mend();
    desk.until_all_is_released(2).await;
    desk.until_ids_are(&[("b", false)]).await;
    let all = [("lease of 1", 30), ("lease of 2", 10), ("lease of 3", 10)].map(|(id, left)| (id.to_owned(), left));
    assert_eq!(desk.close(), all, "one was accepted");
}

#[tokio::test]
async fn a_request_that_is_given_up_while_postgresql_is_asked_is_charged_nothing() {
    let desk = Desk::start().await;
    desk.lease(1, 3, capped);
    desk.lease(2, 1, capped);
    // Redis may have forgotten the set, and PostgreSQL has all of it. If a request kept its turn to read it, the others
    // would not come that far.
    desk.prove(AFTER).await;
    for n in 0..2 * TURNS {
        let user = format!("u{n}");
        let unknown = event(1, &user, Impression, "a");
        let asks = [unknown.asks()];
        let mut request = Box::pin(desk.admission.admit(&asks));
        let _asked = meanwhile(&mut request, desk.until_postgresql_is_asked()).await;
        assert_eq!(desk.units(1, Impression), 2);
        drop(request);
        assert_eq!(desk.units(1, Impression), 3);
    }
    assert!(desk.ids().await.is_empty());

    // The budget of one has no room, and it may be a repeat.
    desk.prove(BEFORE).await;
    desk.granted(3, NO_ROOM, uncapped);
    let events = [event(1, "u", Impression, "b"), event(3, "u", Impression, "c")];
    let all = asks(&events);
    let mut request = Box::pin(desk.admission.admit(&all));
    let _asked = meanwhile(&mut request, desk.until_postgresql_is_asked()).await;
    desk.until_ids_are(&[("b", true)]).await;
    assert_eq!(desk.units(1, Impression), 2);
    drop(request);
    assert_eq!(desk.units(1, Impression), 3);
    desk.until_ids_are(&[]).await;
    let all = [("lease of 1", 30), ("lease of 2", 10)].map(|(id, left)| (id.to_owned(), left));
    assert_eq!(desk.close(), all);
}

async fn admitted(ads: &Ads, id: &str) -> Admitted {
    let json = format!(r#"{{"campaign_id":1,"user_id":"u","event_type":"impression","event_id":"{id}"}}"#);
    let event: AdSubmission = AdSubmission::parse_value(serde_json::from_str(&json).unwrap()).unwrap();
    match ads.admit(&Caller::anonymous(vec!["tracker".to_owned()]), vec![event]).await.pop() {
        Some(ingest::Admission::Send(admitted)) => admitted,
        Some(ingest::Admission::Done(_) | ingest::Admission::Refuse(_)) | None => panic!("there is room for {id}"),
    }
}

#[tokio::test]
async fn what_is_certainly_not_sent_comes_back_and_anything_else_stays_charged() {
    let desk = Desk::start().await;
    desk.prove(BEFORE).await;
    desk.lease(1, 8, |facts| facts.cap = Some(8));
    desk.lease(2, 1, capped);
    let ads = Ads { admission: Arc::clone(&desk.admission), anonymous: None };
    let accepted = Outcome::Accepted { partition: 0, offset: 0 };
    for (outcome, left) in [
        (Some(accepted), 7),
        (Some(Outcome::Unknown), 6),
        // The request ended before its outcome.
        (None, 5),
        (Some(Outcome::QueueFull), 5),
        (Some(Outcome::NoTopic), 5),
        (Some(Outcome::Closed), 5),
        (Some(Outcome::TooLarge), 5),
    ] {
        let id = outcome.map_or("dropped", Outcome::as_str);
        let event = admitted(&ads, id).await;
        match outcome {
            Some(outcome) => assert_eq!(ads.settle(event, outcome).is_ok(), outcome == accepted),
            None => drop(event),
        }
        assert_eq!(desk.units(1, Impression), left, "{id}");
    }
    desk.until_ids_are(&["accepted", "dropped", "unknown"].map(|id| (id, true))).await;

    // Repeats: the ids belong to the first ones, which may have been sent.
    for id in ["accepted", "unknown"] {
        let repeat = admitted(&ads, id).await;
        assert_eq!(desk.units(1, Impression), 4);
        ads.settle(repeat, Outcome::QueueFull).unwrap_err();
        assert_eq!(desk.units(1, Impression), 5);
    }
    desk.until_all_is_released(2).await;
    desk.until_ids_are(&[("accepted", false), ("dropped", true), ("unknown", false)]).await;
    assert_eq!(desk.close(), [("lease of 1".to_owned(), 50), ("lease of 2".to_owned(), 10)]);
}

#[tokio::test]
async fn copies_of_an_impression_in_a_request_have_one_place_and_keep_it_if_one_is_sent() {
    let desk = Desk::start().await;
    desk.prove(BEFORE).await;
    desk.lease(1, 9, |facts| facts.cap = Some(2));
    desk.lease(2, 1, capped);
    let events = ["a", "a", "b", "c", "a", "c"].map(|id| event(1, "u", Impression, id));
    let all = asks(&events);
    let verdicts = desk.admission.admit(&all).await;
    assert_eq!(in_short(&verdicts), ["admitted", "admitted", "admitted", "capped", "admitted", "capped"]);
    desk.until_ids_are(&[("a", true), ("b", true)]).await;
    let take_back = |verdict: Verdict| {
        if let Verdict::Admitted(charged) = verdict {
            desk.admission.take_back(charged);
        }
    };
    verdicts.into_iter().for_each(take_back);
    desk.until_ids_are(&[]).await;
    assert_eq!(desk.units(1, Impression), 9);

    // One of three is sent.
    for sent in 0..3 {
        let copies = [0, 1, 4].map(|at| events[at].asks());
        for (at, verdict) in desk.admission.admit(&copies).await.into_iter().enumerate() {
            if at == sent { drop(verdict) } else { take_back(verdict) }
        }
        desk.until_all_is_released(2).await;
        desk.until_ids_are(&[("a", sent == 0)]).await;
    }
}

#[tokio::test]
async fn a_lease_that_ends_while_a_request_waits_does_not_pay() {
    let desk = Desk::start().await;
    desk.prove(BEFORE).await;
    // Redis has to know the script, whose first answer would be that it does not.
    desk.lease(3, 1, capped);
    desk.until_all_is_released(3).await;
    let soon = Duration::from_secs(3);
    let ends = Instant::now() + soon;
    desk.lease(1, 2, |facts| (facts.cap, facts.usable_for) = (Some(1), soon));
    desk.lease(2, 2, uncapped);
    let events = [event(1, "u", Impression, "a"), event(2, "u", Impression, "b"), event(1, "v", Click, "c")];
    let all = asks(&events);
    desk.proxy.hold_answers();
    let mut request = Box::pin(desk.admission.admit(&all));
    meanwhile(&mut request, desk.until_ids_are(&[("a", true)])).await;
    // The lease was granted after the time was taken.
    meanwhile(&mut request, tokio::time::sleep_until((ends + Duration::from_millis(100)).into())).await;
    desk.proxy.mend();
    let verdicts = request.await;
    assert_eq!(in_short(&verdicts), ["unavailable", "admitted", "unavailable"]);
    desk.until_ids_are(&[]).await;
    let all = [("lease of 1", 20), ("lease of 2", 10), ("lease of 3", 10)].map(|(id, left)| (id.to_owned(), left));
    assert_eq!(desk.close(), all);
}

#[tokio::test]
async fn nothing_overtakes_an_event_of_its_campaign_and_user_that_has_to_come_again() {
    let desk = Desk::start().await;
    // No incarnation is known: nobody can tell how many impressions there were. A click costs 10.
    let of_clicks = |facts: &mut Facts| (facts.cap, facts.costs) = (Some(1), [0, 10, 0].map(Nanos::new));
    desk.lease(1, 5, of_clicks);
    desk.lease(2, 5, uncapped);
    let events = [
        event(1, "u", Click, "before"),
        event(1, "u", Impression, "unsure"),
        event(1, "u", Click, "behind"),
        event(1, "v", Click, "of-another-user"),
        event(2, "u", Impression, "of-another-campaign"),
        event(1, "v", Impression, "unsure-too"),
        event(1, "v", Click, "behind-that"),
    ];
    let verdicts = desk.admission.admit(&asks(&events)).await;
    let expected = ["admitted", "unavailable", "unavailable", "admitted", "admitted", "unavailable", "unavailable"];
    assert_eq!(in_short(&verdicts), expected);
    assert_eq!((desk.units(1, Click), desk.units(2, Impression)), (3, 4), "what is held back costs nothing");
}

#[tokio::test]
async fn the_last_units_go_to_the_first_events_of_a_request() {
    let desk = Desk::start().await;
    desk.lease(1, 2, uncapped);
    desk.granted(1, NO_ROOM, uncapped);
    let events = ["a", "b", "c", "d"].map(|id| event(1, id, Impression, id));
    let unnamed: Vec<_> = events.iter().map(|event| Asks { is_named: false, ..event.asks() }).collect();
    let verdicts = desk.admission.admit(&unnamed).await;
    assert_eq!(in_short(&verdicts), ["admitted", "admitted", "exhausted", "exhausted"]);
    let clicks = [event(1, "a", Click, "free")];
    assert_eq!(in_short(&desk.admission.admit(&asks(&clicks)).await), ["admitted"]);
    assert!(desk.close().is_empty());
}
