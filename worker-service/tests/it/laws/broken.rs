//! Each law is tested with a handler that violates it.

use proptest::strategy::Strategy as _;
use shared::devices::DeviceDelivery;
use shared::kafka::ids::EventId;
use shared::store::Tx;
use worker_service::consumer::handler::Applied;
use worker_service::devices::Devices;

use super::{Subject, devices};
use crate::prelude::*;

/// The defect of the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    /// Only the last event of a batch is applied.
    LastOfBatch,
    /// A repeat counts as a new event.
    NewIds,
    /// A batch without new events is not fenced.
    RepeatsUnfenced,
    /// Writes outside of the transaction.
    WritesBeside,
    /// The event that comes last counts as the newest.
    LastIsNewest,
}

impl Alter for Defect {
    async fn apply(&self, devices: &Devices, tx: &mut Tx<'_>, batch: &[&DeviceDelivery]) -> Result<Applied, Failure> {
        let mut events: Vec<_> = batch.iter().map(|event| (*event).clone()).collect();
        match self {
            Defect::LastOfBatch => drop(events.drain(..events.len() - 1)),
            Defect::NewIds => events.iter_mut().for_each(|event| event.envelope.id = EventId::generate()),
            Defect::LastIsNewest => events.iter_mut().for_each(|event| {
                event.position.appended_at = OffsetDateTime::now_utc();
                event.position.offset =
                    i64::try_from(event.position.appended_at.unix_timestamp_nanos() / 1_000).unwrap();
            }),
            Defect::WritesBeside => {
                const WRITE: &str = "INSERT INTO forgotten_devices VALUES (gen_random_uuid(), now()); COMMIT; BEGIN; \
                    SAVEPOINT batch";
                sqlx::raw_sql(WRITE).execute(&mut *tx).await?;
            }
            Defect::RepeatsUnfenced => {}
        }
        let mut applied = devices.apply(tx, &events.iter().collect::<Vec<_>>(), &()).await?;
        if *self == Defect::RepeatsUnfenced && applied.events.iter().all(|event| event.outcome == "repeated") {
            applied.fences.clear();
            applied.events.iter_mut().for_each(|event| event.fence = None);
        }
        Ok(applied)
    }
}

fn broken(defect: Defect) -> Subject<Altered<Defect>> {
    let touches = |event: &DeviceDelivery| vec![event.event.device_id.cache_key()];
    let handler = Box::new(move |_: &Kit| Altered(devices::handler(), defect));
    Subject { handler, logs: devices::logs().boxed(), touches, given: "" }
}

macro_rules! each_is_found {
    ($($law:ident $defect:ident $said:literal)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        #[should_panic(expected = $said)]
        async fn $law() {
            super::$law(broken(Defect::$defect)).await;
        }
    )+};
}

each_is_found!(
    the_result_does_not_depend_on_where_batches_are_cut LastOfBatch "cut at "
    twice_is_once NewIds "twice: "
    what_is_touched_is_fenced_by_a_repeat_too RepeatsUnfenced "fenced: "
    a_failed_apply_leaves_nothing WritesBeside "refused, at the commit"
    a_late_position_changes_no_state LastIsNewest "late: "
);
