//! A partition that waits for an operator because it had too many dead letters. The pause is stored in PostgreSQL, so
//! that the partition's next owner knows of it.

use std::time::Instant;

use super::PartitionRunner;
use crate::consumer::handler::Handler;
use crate::scheduler::Scheduler;

impl<H: Handler> PartitionRunner<H> {
    /// Reads whether an earlier owner of the partition paused it. No records are taken in before that is known:
    /// dead letters do not need PostgreSQL and would get a new budget.
    pub(super) async fn known_pause(&self, scheduler: &mut Scheduler<H::Event>, started: Instant) -> Pause {
        while !self.stop.is_cancelled() {
            match self.dependencies.store.is_paused(&self.dependencies.source.group, &self.topic, self.partition).await
            {
                Ok(paused) => {
                    scheduler.store_answered();
                    if !paused {
                        break;
                    }
                    tracing::error!(
                        group = &*self.group,
                        partition = self.partition,
                        "paused until `worker-service resume`"
                    );
                    scheduler.pause();
                    return Pause::Written;
                }
                Err(error) => {
                    tracing::warn!(
                        group = &*self.group,
                        partition = self.partition,
                        %error,
                        "cannot find out whether the partition is paused: it takes no records until then"
                    );
                    let until = scheduler.store_failed(error, started.elapsed());
                    self.dependencies.health.update(self.partition, scheduler, started);
                    self.sleep(until.saturating_sub(started.elapsed())).await;
                }
            }
        }
        Pause::None
    }

    /// Tries to store a new pause; once it is stored, checks whether an operator has resumed the partition.
    pub(super) async fn look_at_pause(&self, pause: Pause, scheduler: &mut Scheduler<H::Event>) -> Pause {
        let (store, group) = (&self.dependencies.store, self.dependencies.source.group.as_str());
        match pause {
            Pause::None => Pause::None,
            Pause::ToWrite => match store.pause(group, &self.topic, self.partition, "dead letters").await {
                Ok(()) => Pause::Written,
                Err(error) => {
                    tracing::warn!(group, partition = self.partition, %error, "cannot store the pause");
                    Pause::ToWrite
                }
            },
            Pause::Written => match store.is_paused(group, &self.topic, self.partition).await {
                Ok(false) => {
                    tracing::info!(group, partition = self.partition, "resumed by an operator");
                    scheduler.resume();
                    Pause::None
                }
                Ok(true) | Err(_) => Pause::Written,
            },
        }
    }
}

/// Whether the partition waits for an operator.
pub(super) enum Pause {
    None,
    /// It does, but the pause is not stored in PostgreSQL yet.
    ToWrite,
    Written,
}
