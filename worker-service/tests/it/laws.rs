//! The rules that every handler must follow, tested with PostgreSQL: one macro call for each handler.

mod ads;
mod broken;
mod devices;
mod world;

use std::fmt::Debug;

use self::world::{World, versions};
use proptest::strategy::{BoxedStrategy, Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use shared::cache::CacheKey;
use shared::kafka::ids::EventId;
use shared::kafka::position::Position;

use crate::prelude::*;

/// A handler, and the input of its tests.
pub(crate) struct Subject<H: Handler> {
    /// Makes the handler, with the kit whose database it is for.
    pub(crate) handler: Box<dyn FnOnce(&Kit) -> H + Send>,
    /// Logs of its events: few ids, which repeat, and positions that jump back, like those of redriven events.
    pub(crate) logs: BoxedStrategy<Vec<Delivery<H::Event>>>,
    /// The cache entries that an event affects.
    pub(crate) touches: fn(&Delivery<H::Event>) -> Vec<CacheKey>,
    /// SQL that makes what its events need.
    pub(crate) given: &'static str,
}

/// Tests a handler against all laws, with logs of its events and the cache entries that an event affects.
macro_rules! handler_laws {
    // A handler that needs the kit, and only these laws, with SQL that makes what the events need.
    (with $new:expr, $logs:expr, $touches:expr, $given:expr; $($law:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $law() {
            let logs = proptest::strategy::Strategy::boxed($logs);
            let handler = Box::new($new);
            $crate::laws::$law($crate::laws::Subject { handler, logs, touches: $touches, given: $given }).await;
        }
    )+};
    ($handler:expr, $logs:expr, $touches:expr) => {
        $crate::laws::handler_laws!(
            $handler, $logs, $touches, "";
            the_result_does_not_depend_on_where_batches_are_cut
            twice_is_once
            what_is_touched_is_fenced_by_a_repeat_too
            a_failed_apply_leaves_nothing
            a_late_position_changes_no_state
        );
    };
    ($handler:expr, $logs:expr, $touches:expr, $given:expr; $($law:ident)+) => {
        $crate::laws::handler_laws!(with |_: &$crate::kit::Kit| $handler, $logs, $touches, $given; $($law)+);
    };
}
pub(crate) use handler_laws;

/// The number of logs for each law.
const LOGS: usize = 12;

impl<H: Handler<Event: Clone + Debug>> Subject<H> {
    /// The same logs in every run.
    fn logs(&self) -> Vec<Vec<Delivery<H::Event>>> {
        let mut runner = TestRunner::deterministic();
        (0..LOGS).map(|_| self.logs.new_tree(&mut runner).unwrap().current()).collect()
    }
}

pub(crate) async fn the_result_does_not_depend_on_where_batches_are_cut<H: Handler<Event: Clone + Debug>>(
    subject: Subject<H>,
) {
    let (world, logs) = World::new("law_cuts", subject).await;
    for log in logs {
        let mut expected = None;
        for cut in [log.len(), 1, 2, 7] {
            world.clear().await;
            let (mut outcomes, mut fences) = (Vec::new(), BTreeMap::new());
            for batch in log.chunks(cut) {
                let applied = world.apply(batch).await;
                outcomes.extend(applied.events.iter().map(|event| (event.outcome, event.counts)));
                fences.extend(versions(&applied.fences));
            }
            let found = (world.rows().await, outcomes, fences);
            let expected = expected.get_or_insert_with(|| found.clone());
            assert_eq!(&found, expected, "cut at {cut}: {log:#?}");
        }
    }
}

pub(crate) async fn twice_is_once<H: Handler<Event: Clone + Debug>>(subject: Subject<H>) {
    let (world, logs) = World::new("law_twice", subject).await;
    for (n, log) in logs.into_iter().enumerate() {
        world.clear().await;
        for batch in log.chunks(1 + n % 5) {
            world.apply(batch).await;
            let once = world.rows().await;
            world.apply(batch).await;
            assert_eq!(world.rows().await, once, "twice: {batch:#?}");
        }
        // As after the group was rewound.
        let once = world.rows().await;
        for batch in log.chunks(3) {
            world.apply(batch).await;
        }
        assert_eq!(world.rows().await, once, "{log:#?}");
    }
}

pub(crate) async fn what_is_touched_is_fenced_by_a_repeat_too<H: Handler<Event: Clone + Debug>>(subject: Subject<H>) {
    let (world, logs) = World::new("law_fences", subject).await;
    for (n, log) in logs.into_iter().enumerate() {
        world.clear().await;
        for batch in log.chunks(1 + n % 5) {
            // The worker may have died between its commit and its fence.
            for _ in ["new", "again"] {
                let applied = world.apply(batch).await;
                let expected = world.cached(batch).await;
                assert_eq!(versions(&applied.fences), expected, "fenced: {batch:#?}");
                for (event, processed) in batch.iter().zip(&applied.events) {
                    let Some(fence) = processed.fence else { continue };
                    let (key, _) = &applied.fences[fence];
                    assert!((world.touches)(event).contains(key), "{event:#?} is seen when {key} is fenced");
                }
                assert_eq!(applied.events.len(), batch.len());
            }
        }
    }
}

pub(crate) async fn a_failed_apply_leaves_nothing<H: Handler<Event: Clone + Debug>>(subject: Subject<H>) {
    let (world, logs) = World::new("law_failures", subject).await;
    let mut failures = 0;
    for log in logs {
        world.clear().await;
        let (before, batch) = log.split_at(log.len() / 2);
        world.apply(before).await;
        let first = world.rows().await;
        world.apply(batch).await;
        // Only tables that the batch changes: there are many, of several domains.
        let after = world.rows().await;
        let changed: Vec<_> = after.keys().filter(|table| after.get(*table) != first.get(*table)).cloned().collect();
        world.clear().await;
        world.apply(before).await;
        for table in &changed {
            for at_commit in [false, true] {
                let rows = world.rows().await;
                world.refuse(table, at_commit).await;
                let outcome = world.try_apply(batch).await;
                world.refuse_no_more(table).await;
                if outcome.is_err() {
                    failures += 1;
                    assert_eq!(world.rows().await, rows, "{table} refused, at the commit: {at_commit}: {batch:#?}");
                } else {
                    // It does not write to that table.
                    world.clear().await;
                    world.apply(before).await;
                }
            }
        }
        // After the failure, the result is the same as without it.
        world.apply(batch).await;
        let rows = world.rows().await;
        world.clear().await;
        world.apply(before).await;
        world.apply(batch).await;
        assert_eq!(world.rows().await, rows, "{log:#?}");
    }
    assert!(failures >= LOGS, "{failures} failures");
}

pub(crate) async fn a_late_position_changes_no_state<H: Handler<Event: Clone + Debug>>(subject: Subject<H>) {
    let (world, logs) = World::new("law_late", subject).await;
    for log in logs {
        world.clear().await;
        world.apply(&log).await;
        let states = world.states(&log).await;
        let late = log.iter().cloned().map(|mut event| {
            event.envelope.id = EventId::generate();
            // Before everything in the log, marked as redriven.
            let appended_at = OffsetDateTime::UNIX_EPOCH;
            event.position = Position { offset: 0, appended_at, redriven: true, ..event.position };
            event
        });
        world.apply(&late.collect::<Vec<_>>()).await;
        assert_eq!(world.states(&log).await, states, "late: {log:#?}");
    }
}
