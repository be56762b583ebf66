//! The worker behind a transaction pooler, against the same worker directly on PostgreSQL.
//!
//! The cost is reported without a floor: each transaction sets its limits, each statement is parsed again, and
//! everything passes through one more process.

use devstack::PgBouncer;

use crate::Scale;
use crate::bed::{Site, TestBed};
use crate::records::{self, Bare};
use crate::report::Figure;
use crate::rows::{take_turns, worker};

const DEVICES: usize = 10_000;
/// The pooler's connections to PostgreSQL: as many as the worker has without a pooler.
const BEHIND: u32 = 10;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "pooler")?;
    let bare = Bare::new(&site)?;
    let bouncer = PgBouncer::start(bed.stack.postgres.port, BEHIND)?;
    let url = bouncer.url(&site.scope.database_url)?;
    let pooled = [("DATABASE_URL", url.as_str()), ("DATABASE_POOLER", "transaction")];
    let (events, mut turns, mut usages) = (scale.worker_events, 0, Vec::new());
    let [figure, direct] = take_turns(scale.rounds.min(4), ["pooled", "direct"], |turn| {
        turns += 1;
        let tag = format!("pooler{turns}");
        bare.fill((0..events).map(|n| records::event(n, DEVICES, &tag)), None)?;
        let settings = if turn == 0 { &pooled[..] } else { &[] };
        let (rate, used) = worker::drain_filled(&site, settings, events, &tag)?;
        if turn == 0 {
            usages = used;
        }
        Ok(rate)
    })?;
    let (pooled, direct_rate) = (figure.median(), direct.median());
    let row = Figure {
        notes: vec![format!(
            "{events} events a round, {DEVICES} devices, {BEHIND} connections behind the pooler: {:+.1} µs an event",
            1e6 / pooled - 1e6 / direct_rate
        )],
        usages,
        ..Figure::new("worker behind PgBouncer", "events/s", figure)
    };
    Ok(vec![row.beside(vec![("the worker without it", direct)])])
}
