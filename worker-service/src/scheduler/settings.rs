//! The bounds of a lane.

/// The bounds of a lane.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most records of a batch.
    pub batch_records: usize,
    /// The most bytes of a batch, unless a single record has more.
    pub batch_bytes: usize,
    /// The most events held, before the lane takes in no more.
    pub held_records: usize,
    /// The most bytes held, before the lane takes in no more.
    pub held_bytes: usize,
    /// With so many events of one key waiting, each of them gets one try.
    pub key_records: usize,
    /// The same in bytes.
    pub key_bytes: usize,
    /// Dead letters among the last [`Self::ration_window`] records that are still let through.
    pub ration_letters: usize,
    /// Keys that those may come from, however many letters.
    pub ration_keys: usize,
    /// What the ration looks back on, in records.
    pub ration_window: usize,
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
            ration_letters: 100,
            ration_keys: 20,
            ration_window: 1_000,
        }
    }
}
