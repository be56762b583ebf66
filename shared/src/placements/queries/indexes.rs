//! The indexes that are made while others write.

use crate::store::{Index, Indexes};

/// The index of the expiry of validations.
pub const INDEXES: Indexes = Indexes {
    needed: &[Index {
        name: "validations_finished",
        create: "CREATE INDEX CONCURRENTLY IF NOT EXISTS validations_finished ON validations (finished_at) \
                 WHERE finished_at IS NOT NULL",
        without: "each search for old validations reads the whole table",
    }],
    obsolete: &[],
};
