//! Deletes rows after their retention, piece by piece, as a task of a domain: incoming events have precedence.

use std::time::Duration;

use shared::store::Failure;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The wait after the last row was deleted.
const PAUSE: Duration = Duration::from_secs(60);
/// The wait between two pieces.
const REST: Duration = Duration::from_millis(100);
/// How often the gauge is updated during the pause.
const SHOW: Duration = Duration::from_secs(5);

/// Rows that expire.
pub trait Expiry: Send + Sync {
    /// Deletes about this many rows that are old enough, the oldest first.
    fn expire(&self, rows: u32) -> impl Future<Output = Result<Expired, Failure>> + Send;

    /// Counts deleted rows.
    fn deleted(&self, rows: u64);

    /// Shows how long rows may have existed beyond their retention, as far as this worker knows.
    fn behind(&self, behind: Duration);
}

/// The result of expiring a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// Another worker is doing it.
    Elsewhere,
    /// Rows were deleted.
    Rows {
        rows: u64,
        /// Whether more are old enough already.
        more: bool,
        /// For how long the oldest remaining row has been old enough, at most, if that is known.
        behind: Option<Duration>,
    },
}

impl Expired {
    /// The result of a statement that deletes `piece` rows at most; `None` if another worker is doing it.
    pub fn of(rows: Option<u64>, piece: u32) -> Self {
        let Some(rows) = rows else { return Self::Elsewhere };
        let more = rows >= u64::from(piece);
        Self::Rows { rows, more, behind: (!more).then_some(Duration::ZERO) }
    }
}

/// Deletes piece by piece until `stop` is cancelled. `since` is the start of this worker.
pub async fn run(task: &'static str, all: &[impl Expiry], since: Instant, stop: CancellationToken) {
    let mut piece = Piece::FIRST;
    let mut known: Vec<_> = all.iter().map(|expiry| (expiry, Behind::unknown(since))).collect();
    loop {
        for (expiry, behind) in &mut known {
            let passing = pass(task, *expiry, &mut piece, behind);
            let Some(passed) = stop.run_until_cancelled(passing).await else { return };
            if let Err(error) = passed {
                piece.failed();
                tracing::warn!(task, %error, "cannot delete events after their retention now");
            }
        }
        let next = Instant::now() + PAUSE;
        while Instant::now() < next {
            known.iter().for_each(|(expiry, behind)| expiry.behind(behind.of(Instant::now())));
            if stop.run_until_cancelled(tokio::time::sleep(SHOW)).await.is_none() {
                return;
            }
        }
    }
}

/// Deletes until no row is old enough, or returns because another worker is deleting.
async fn pass(task: &'static str, expiry: &impl Expiry, piece: &mut Piece, known: &mut Behind) -> Result<(), Failure> {
    let mut all = 0;
    loop {
        let from = Instant::now();
        let Expired::Rows { rows, more, behind } = expiry.expire(piece.rows).await? else { return Ok(()) };
        expiry.deleted(rows);
        if let Some(behind) = behind {
            known.found(behind, Instant::now());
        }
        expiry.behind(known.of(Instant::now()));
        all += rows;
        if !more {
            if all > 0 {
                tracing::info!(task, rows = all, "deleted events after their retention");
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
