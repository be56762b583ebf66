//! The bounds of a scheduler.

/// The bounds of a scheduler.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most records of a batch.
    pub batch_records: usize,
    /// The most bytes of a batch, unless a single record has more.
    pub batch_bytes: usize,
    /// The most events held, before the scheduler takes in no more.
    pub held_records: usize,
    /// The most bytes held, before the scheduler takes in no more.
    pub held_bytes: usize,
    /// With so many events of one key waiting, each of them gets one try.
    pub key_records: usize,
    /// The same in bytes.
    pub key_bytes: usize,
    /// Dead letters among the last [`Self::budget_window`] records that are still let through.
    pub budget_dead_letters: usize,
    /// Keys that those may come from, however many there are.
    pub budget_keys: usize,
    /// What the budget looks back on, in records.
    pub budget_window: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_records: 1_000,
            batch_bytes: 4 * 1024 * 1024,
            held_records: 10_000,
            held_bytes: 8 * 1024 * 1024,
            key_records: 100,
            key_bytes: 1024 * 1024,
            budget_dead_letters: 100,
            budget_keys: 20,
            budget_window: 1_000,
        }
    }
}
