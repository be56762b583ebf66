//! The bounds of a scheduler.

/// The bounds of a scheduler.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most records of a batch.
    pub batch_records: usize,
    /// The most bytes of a batch, unless a single record has more.
    pub batch_bytes: usize,
    /// Once this many events are held, the scheduler takes in no more.
    pub held_records: usize,
    /// The same in bytes.
    pub held_bytes: usize,
    /// Once this many events of one key wait, each of them gets a single try.
    pub key_records: usize,
    /// The same in bytes.
    pub key_bytes: usize,
    /// The most dead letters among the last [`Self::budget_window`] records before the partition pauses.
    pub budget_dead_letters: usize,
    /// Dead letters of at most this many keys never pause the partition, however many they are.
    pub budget_keys: usize,
    /// How far the budget looks back, in records.
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
