//! Deletes events after `EVENTS_RETENTION`.

use std::time::{Duration, Instant};

use shared::store::{Age, Expired, ExpiryPosition, Store, StoreError};

/// The wait after there was nothing more to delete.
const PAUSE: Duration = Duration::from_secs(60);
/// The wait between two pieces: the events that come in have precedence.
const REST: Duration = Duration::from_millis(100);
/// How often the search begins with the oldest row there is. A row behind the position can only come from a clock that
/// was set back.
const REWIND: Duration = Duration::from_secs(3600);

/// Deletes, piece by piece, for ever.
pub async fn run(store: Store, older_than: Duration) {
    let mut walks = [Walk::new(Age::Written), Walk::new(Age::Appended)];
    loop {
        for walk in &mut walks {
            if let Err(error) = walk.pass(&store, older_than).await {
                tracing::warn!(%error, "cannot delete events after their retention now");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The way through the rows of one age.
struct Walk {
    age: Age,
    piece: Piece,
    position: Option<ExpiryPosition>,
    began: Instant,
}

impl Walk {
    fn new(age: Age) -> Self {
        Self { age, piece: Piece::default(), position: None, began: Instant::now() }
    }

    /// Deletes until nothing more is old enough, or another worker does it.
    async fn pass(&mut self, store: &Store, older_than: Duration) -> Result<(), StoreError> {
        if self.began.elapsed() > REWIND {
            (self.position, self.began) = (None, Instant::now());
        }
        let mut deleted = 0;
        let outcome = loop {
            let from = Instant::now();
            match store.expire(self.age, older_than, self.position.as_ref(), self.piece.rows).await {
                Ok(Expired::Elsewhere) => break Ok(()),
                Ok(Expired::Rows { rows, position, more }) => {
                    self.position = position;
                    deleted += rows;
                    metrics::counter!("events_pruned_total").increment(rows);
                    if !more {
                        break Ok(());
                    }
                    self.piece.took(from.elapsed());
                }
                Err(error) => {
                    self.piece.failed();
                    break Err(error);
                }
            }
            tokio::time::sleep(REST).await;
        };
        if deleted > 0 {
            tracing::info!(rows = deleted, "deleted events after their retention");
        }
        outcome
    }
}

/// How many rows go at a time: as many as are gone soon, whatever their size, the disk and what else runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    rows: u32,
}

impl Default for Piece {
    fn default() -> Self {
        Self { rows: 1_000 }
    }
}

impl Piece {
    const LEAST: u32 = 10;
    const MOST: u32 = 20_000;
    /// Well below the deadline of a statement.
    const LONG: Duration = Duration::from_millis(500);
    const SHORT: Duration = Duration::from_millis(200);

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
            micros_a_row in 0_u64..50_000, begins in Piece::LEAST..=Piece::MOST,
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
}
