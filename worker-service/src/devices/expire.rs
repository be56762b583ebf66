//! Deletes events after `EVENTS_RETENTION`.

use std::time::Duration;

use shared::devices::queries::{self, Age, Expired};
use shared::store::{Failure, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The wait after there was nothing more to delete.
const PAUSE: Duration = Duration::from_secs(60);
/// The wait between two pieces: the events that come in have precedence.
const REST: Duration = Duration::from_millis(100);
/// How often it is shown in between how far this is behind.
const SHOW: Duration = Duration::from_secs(5);

/// Deletes, piece by piece, until it is told to stop. This worker has run since then.
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

/// Deletes until nothing more is old enough, or another worker does it.
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
        metrics::counter!("events_pruned_total").increment(rows);
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

/// For how long the oldest row that is old enough may have been there, as far as this worker knows: what was last found,
/// and the time since. So it grows whenever nothing is found out, whatever the reason; that is what an alert looks at, for
/// a table that is not expired any more grows without a word.
#[derive(Debug, Clone, Copy)]
struct Behind {
    found: Duration,
    at: Instant,
}

impl Behind {
    /// Nothing has been known since then.
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
        metrics::gauge!("events_expiry_behind_seconds", "rows" => rows).set(self.of(Instant::now()).as_secs_f64());
    }

    fn of(self, now: Instant) -> Duration {
        self.found.saturating_add(now.saturating_duration_since(self.at))
    }
}

/// How many rows go at a time: as many as are surely gone before the statement's deadline of four seconds, whatever their
/// size, the disk and what else runs. Where the machine is busy, smaller pieces would only be more of them.
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

    /// A whole piece took this long.
    fn took(&mut self, time: Duration) {
        if time > Self::LONG {
            self.rows = (self.rows / 2).max(Self::LEAST);
        } else if time < Self::SHORT {
            self.rows = self.rows.saturating_mul(2).min(Self::MOST);
        }
    }

    /// It was not gone within the deadline, or PostgreSQL is away.
    fn failed(&mut self) {
        self.rows = (self.rows / 8).max(Self::LEAST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However slow a row is, and from wherever it begins: after a few pieces none takes long, and none is
        /// needlessly small.
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
