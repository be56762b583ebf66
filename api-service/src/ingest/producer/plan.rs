//! Which client sends each event of a request, and which events wait for others.
//!
//! The events of a key keep their order. One client keeps it; if an event goes to another client than the one
//! before, it waits for the outcome of that one. While the topic's limit is unknown, a client's first batch on a
//! partition may be refused and a smaller one behind it be written, because a broker that does not know the producer
//! there accepts any first sequence number. So a key's first event then goes ahead, and the others are batched after
//! its acknowledgement.
//!
//! Waiting costs a round trip, and so does sending one by one, for each [`IN_FLIGHT`] events. The cheaper way is taken.

use std::collections::HashMap;

use shared::kafka::Outgoing;
use shared::kafka::ids::Key;

use super::Way;

/// Requests in flight to a broker: the most that an idempotent producer has.
const IN_FLIGHT: usize = 5;

/// How an event is sent. It is sent after the events of the stages before have their outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) stage: usize,
    pub(super) way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batches {
    /// They are within the topic's limit.
    Fit,
    /// They are within the limit that is assumed.
    MayFit,
    /// They may exceed the limit.
    TooLarge,
}

/// A step for each event, in order.
pub(super) fn plan(events: &[Outgoing], fits: impl Fn(&Outgoing) -> bool, batches: Batches) -> Vec<Step> {
    let mut steps: Vec<_> = events.iter().map(|event| Step { stage: 0, way: Way::of(fits(event)) }).collect();
    if batches == Batches::Fit && steps.iter().all(|step| step.way == Way::Batched) {
        return steps;
    }
    let mut keys: HashMap<&Key, Vec<usize>> = HashMap::with_capacity(events.len());
    for (place, event) in events.iter().enumerate() {
        keys.entry(&event.envelope.key).or_default().push(place);
    }
    // Each with its number of stages.
    let mut staged: Vec<_> = keys
        .into_values()
        .map(|places| (put_into_stages(&mut steps, &places, batches == Batches::MayFit), places))
        .filter(|(stages, places)| *stages > 1 || batches == Batches::TooLarge && places.len() > 1)
        .collect();
    staged.sort_unstable_by_key(|(stages, _)| *stages);
    let staged_keys = if batches == Batches::TooLarge { 0 } else { cheapest(&staged) };
    for place in staged.iter().skip(staged_keys).flat_map(|(_, places)| places) {
        if let Some(step) = steps.get_mut(*place) {
            *step = Step { stage: 0, way: Way::Alone };
        }
    }
    steps
}

/// Puts a key's events into stages, and returns the number of stages.
fn put_into_stages(steps: &mut [Step], places: &[usize], the_first_goes_ahead: bool) -> usize {
    let mut stage = 0;
    let mut before = None;
    let mut goes_ahead = the_first_goes_ahead && places.len() > 1;
    for place in places {
        let Some(step) = steps.get_mut(*place) else { continue };
        if before.is_some_and(|way| way != step.way) {
            stage += 1;
        }
        (step.stage, before) = (stage, Some(step.way));
        if step.way == Way::Batched && goes_ahead {
            goes_ahead = false;
            stage += 1;
            before = None;
        }
    }
    places.last().and_then(|last| steps.get(*last)).map_or(0, |last| last.stage + 1)
}

/// How many keys, starting with those of the fewest stages, are sent in stages; the events of the others go one by one.
fn cheapest(keys: &[(usize, Vec<usize>)]) -> usize {
    let mut alone: usize = keys.iter().map(|(_, places)| places.len()).sum();
    let mut best = (alone.div_ceil(IN_FLIGHT), 0);
    for (index, (stages, places)) in keys.iter().enumerate() {
        alone -= places.len();
        best = best.min((stages + alone.div_ceil(IN_FLIGHT), index + 1));
    }
    best.1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::event;
    use super::*;

    /// The plan for events of these keys; those in capitals do not fit into a batch.
    fn planned(keys: &str, batches: Batches) -> Vec<Step> {
        let events: Vec<_> = keys.chars().map(|name| event(&name.to_string().to_lowercase())).collect();
        let fit: Vec<_> = keys.chars().map(|name| name.is_lowercase()).collect();
        let asked = std::cell::Cell::new(0);
        let fits = |_: &Outgoing| fit[asked.replace(asked.get() + 1)];
        plan(&events, fits, batches)
    }

    fn shown(keys: &str, batches: Batches) -> String {
        let shown = |step: &Step| format!("{}{}", step.stage, if step.way == Way::Alone { "!" } else { "" });
        planned(keys, batches).iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_fits_goes_together_and_what_costs_less_is_done() {
        for (keys, batches, expected) in [
            ("aaaaaaab", Batches::Fit, "0 0 0 0 0 0 0 0"),
            ("aAb", Batches::Fit, "0! 0! 0"),
            ("aaaaaaaaaaA", Batches::Fit, "0 0 0 0 0 0 0 0 0 0 1!"),
            ("aabC", Batches::TooLarge, "0! 0! 0 0!"),
            ("aabc", Batches::MayFit, "0! 0! 0 0"),
            ("aaaaaaaaaaab", Batches::MayFit, "0 1 1 1 1 1 1 1 1 1 1 0"),
            ("aaaaaAaaaaaaaaaaaaaaaa", Batches::MayFit, "0 1 1 1 1 2! 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3"),
        ] {
            assert_eq!(shown(keys, batches), expected, "{keys}");
        }
    }

    /// [`Producer::send`](super::super::Producer::send) rests on this.
    #[test]
    fn one_event_has_one_stage_and_goes_together_with_others_if_it_fits() {
        for batches in [Batches::Fit, Batches::MayFit, Batches::TooLarge] {
            assert_eq!((&*shown("a", batches), &*shown("A", batches)), ("0", "0!"));
        }
    }

    proptest! {
        #[test]
        fn a_devices_events_keep_their_order(keys in "[a-eA-E]{1,60}", batches in 0..3_usize) {
            let batches = [Batches::Fit, Batches::MayFit, Batches::TooLarge][batches];
            let steps = planned(&keys, batches);
            let mut trips = 0;
            for device in 'a'..='e' {
                let of = keys.chars().zip(&steps).filter(|(name, _)| name.eq_ignore_ascii_case(&device));
                let of: Vec<_> = of.collect();
                for (index, (name, step)) in of.iter().enumerate() {
                    prop_assert!(name.is_lowercase() || step.way == Way::Alone, "it does not fit: {keys} {steps:?}");
                    let (before, behind) = (&of[..index], of.get(index + 1));
                    let is_first = before.iter().all(|(_, before)| before.way == Way::Alone);
                    if let Some((_, next)) = behind {
                        let one_way = step.way == next.way;
                        let may_overtake = !one_way || step.way == Way::Batched && is_first && batches == Batches::MayFit;
                        let waits = step.stage < next.stage;
                        prop_assert!(waits || (!may_overtake && step.stage == next.stage), "{keys} {steps:?}");
                    }
                    let batched_of_many = step.way == Way::Batched && of.len() > 1;
                    prop_assert!(!(batched_of_many && batches == Batches::TooLarge), "{keys} {steps:?}");
                    trips = trips.max(step.stage + 1);
                }
            }
            prop_assert!(trips <= keys.len().div_ceil(IN_FLIGHT).max(1), "{keys} {steps:?}");
        }
    }
}
