//! Deletes events after `EVENTS_RETENTION`.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use shared::devices::queries::{self, Age, Expired};
use shared::store::{Failure, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The wait after the last row was deleted.
const PAUSE: Duration = Duration::from_secs(60);
/// The wait between two pieces: incoming events have precedence.
const REST: Duration = Duration::from_millis(100);
/// How often the gauge is updated during the pause.
const SHOW: Duration = Duration::from_secs(5);

pub fn describe() {
    describe_counter!("events_pruned_total", "Events deleted after EVENTS_RETENTION.");
    describe_gauge!(
        "events_expiry_behind_seconds",
        "How long events may have existed beyond EVENTS_RETENTION, as far as this worker knows."
    );
    counter!("events_pruned_total").increment(0);
}

/// Deletes piece by piece until `stop` is cancelled. `since` is the start of this worker.
pub async fn run(store: Store, older_than: Duration, since: Instant, stop: CancellationToken) {
    let mut piece = Piece::FIRST;
    let mut ages = [Age::Written, Age::Appended].map(|age| (age, Behind::unknown(since)));
    loop {
        for (age, behind) in &mut ages {
            let passing = pass(&store, *age, older_than, &mut piece, behind);
            let Some(passed) = stop.run_until_cancelled(passing).await else { return };
            if let Err(error) = passed {
                piece.failed();
                tracing::warn!(%error, "cannot delete events after their retention now");
            }
        }
        let next = Instant::now() + PAUSE;
        while Instant::now() < next {
            ages.iter().for_each(|(age, behind)| behind.show(*age));
            if stop.run_until_cancelled(tokio::time::sleep(SHOW)).await.is_none() {
                return;
            }
        }
    }
}

/// Deletes until no row is old enough, or returns because another worker is deleting.
async fn pass(
    store: &Store,
    age: Age,
    older_than: Duration,
    piece: &mut Piece,
    known: &mut Behind,
) -> Result<(), Failure> {
    let mut all = 0;
    loop {
        let from = Instant::now();
        let expired = queries::expire(store, age, older_than, piece.rows).await?;
        let Expired::Rows { rows, more, behind } = expired else { return Ok(()) };
        counter!("events_pruned_total").increment(rows);
        if let Some(behind) = behind {
            known.found(behind, Instant::now());
        }
        known.show(age);
        all += rows;
        if !more {
            if all > 0 {
                tracing::info!(rows = all, "deleted events after their retention");
            }
            return Ok(());
        }
        piece.took(from.elapsed());
        tokio::time::sleep(REST).await;
    }
}

/// How long the oldest row may have stayed beyond its retention, as far as this worker knows: the last measurement plus
/// the time since. So it grows while nothing is measured, for any reason. An alert uses it: a table that is no longer
/// expired grows without any error.
#[derive(Debug, Clone, Copy)]
struct Behind {
    found: Duration,
    at: Instant,
}

impl Behind {
    /// Nothing is known since this time.
    fn unknown(since: Instant) -> Self {
        Self { found: Duration::ZERO, at: since }
    }

    fn found(&mut self, behind: Duration, now: Instant) {
        *self = Self { found: behind, at: now };
    }

    fn show(self, age: Age) {
        let rows = match age {
            Age::Written => "written",
            Age::Appended => "appended",
        };
        gauge!("events_expiry_behind_seconds", "rows" => rows).set(self.of(Instant::now()).as_secs_f64());
    }

    fn of(self, now: Instant) -> Duration {
        self.found.saturating_add(now.saturating_duration_since(self.at))
    }
}

/// Rows of one `DELETE`: few enough to finish before the statement's deadline of four seconds, whatever their size, the
/// disk and the other load. On a busy machine, even smaller pieces would only be more statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    rows: u32,
}

impl Piece {
    const FIRST: Self = Self { rows: 5_000 };
    const LEAST: u32 = 10;
    const MOST: u32 = 20_000;
    const LONG: Duration = Duration::from_secs(2);
    const SHORT: Duration = Duration::from_millis(800);

    /// A full piece took this long.
    fn took(&mut self, time: Duration) {
        if time > Self::LONG {
            self.rows = (self.rows / 2).max(Self::LEAST);
        } else if time < Self::SHORT {
            self.rows = self.rows.saturating_mul(2).min(Self::MOST);
        }
    }

    /// The piece missed the deadline, or PostgreSQL is down.
    fn failed(&mut self) {
        self.rows = (self.rows / 8).max(Self::LEAST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// For any speed and any start: after a few pieces none takes too long, and none is needlessly small.
        #[test]
        fn pieces_come_to_take_neither_long_nor_are_they_small(
            micros_a_row in 0_u64..200_000, begins in Piece::LEAST..=Piece::MOST,
        ) {
            let mut piece = Piece { rows: begins };
            let time = |piece: Piece| Duration::from_micros(micros_a_row * u64::from(piece.rows));
            let deadline = Duration::from_secs(4);
            for _ in 0..16 {
                if time(piece) > deadline { piece.failed() } else { piece.took(time(piece)) }
            }
            prop_assert!(time(piece) <= Piece::LONG, "{piece:?}");
            prop_assert!(piece.rows == Piece::MOST || 2 * time(piece) >= Piece::SHORT, "{piece:?}");
        }
    }

    #[test]
    fn how_far_it_is_behind_is_what_was_found_last_and_the_time_since() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut behind = Behind::unknown(begin);
        assert_eq!(behind.of(at(7)).as_secs(), 7, "never less than the truth, which cannot grow faster than time");
        for found in [100, 0] {
            behind.found(Duration::from_secs(found), at(20));
            assert_eq!([20, 23].map(|now| behind.of(at(now)).as_secs()), [found, found + 3]);
        }
    }
}
