//! Ends validations that nobody runs any more: their events became dead letters, or were purged. Whoever waits for one
//! learns that it has failed, and may ask for another one.

use std::time::Duration;

use metrics::counter;
use shared::kafka::Cause;
use shared::placements::queries::validations::{Ended, Finished, finish_validations, unfinished};
use shared::store::outbox::doorbell::Doorbell;
use shared::store::{Failure, Store, Tx, Work};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// The task's name.
pub const TASK: &str = "validations-end";

/// How long a validation may take, with all that its group may wait for.
const OVERDUE: Duration = Duration::from_secs(86_400);
/// The wait between two searches, more or less: workers that start together do not search together.
const INTERVAL: Duration = Duration::from_secs(600);
/// Validations that end in one transaction.
const PIECE: u32 = 100;

/// Ends them until `stop` is cancelled. Several workers may do this at once.
pub async fn run(store: Store, bell: Doorbell, stop: CancellationToken) {
    let wait = || tokio::time::sleep(INTERVAL.mul_f64(0.5 + fastrand::f64()));
    while stop.run_until_cancelled(wait()).await.is_some() {
        match end_overdue(&store).await {
            Ok(0) => {}
            Ok(ended) => {
                tracing::warn!(task = TASK, ended, "validations failed, because nobody ran them within a day");
                bell.ring();
            }
            Err(error) => tracing::warn!(task = TASK, %error, "cannot end overdue validations now"),
        }
    }
}

/// Fails validations that were asked for more than a day ago; returns how many. Those that are left are for the next search.
pub async fn end_overdue(store: &Store) -> Result<usize, Failure> {
    let overdue = unfinished(store, OVERDUE, PIECE).await?;
    if overdue.is_empty() {
        return Ok(0);
    }
    let failed = |of| Finished { of, ended: Ended::Failed("it was not run within a day".to_owned()) };
    let due = overdue.into_iter().map(|(of, cause)| (failed(of), cause)).collect();
    let ended = store.transact("", &End(due)).await?;
    counter!("placement_validations_total", "status" => "failed").increment(ended as u64);
    Ok(ended)
}

/// The validations that end, each with its cause: that of an event which nobody has any more.
struct End(Vec<(Finished, Cause)>);

impl Work for End {
    type Output = usize;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<usize, Failure> {
        let due: Vec<_> = self.0.iter().map(|(finished, cause)| (finished, cause.clone())).collect();
        Ok(finish_validations(tx, &due, &[], OffsetDateTime::now_utc()).await?.ended.len())
    }
}
