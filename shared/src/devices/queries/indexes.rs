//! The indexes that are made while others write.

use crate::store::{Index, Indexes};

/// The indexes of the expiry and of lists.
pub const INDEXES: Indexes = Indexes {
    needed: &[
        // Ordered by the time of writing. All rows of a batch have the same time, so the index is small.
        Index {
            name: "events_written",
            create: "CREATE INDEX CONCURRENTLY IF NOT EXISTS events_written ON events (recorded_at)",
            without: WITHOUT,
        },
        // Rows written before migration 0004. No more are added.
        Index {
            name: "events_appended",
            create: "CREATE INDEX CONCURRENTLY IF NOT EXISTS events_appended ON events (appended_at) \
                     WHERE recorded_at IS NULL",
            without: WITHOUT,
        },
        // For lists. In the collation of most databases the texts with a common beginning are not next to each other,
        // so the primary key does not find them.
        Index {
            name: "resources_listed",
            create: r#"CREATE INDEX CONCURRENTLY IF NOT EXISTS resources_listed ON resources (id COLLATE "C")"#,
            without: "each list of resources reads the whole table",
        },
    ],
    // The indexes of earlier versions' expiry. BRIN ranges never become narrower: once their pages are reused, they
    // match every time. After a rollback, the earlier version uses the indexes above.
    obsolete: &["events_accepted_at", "events_appended_at", "events_recorded_at"],
};

const WITHOUT: &str = "events do not expire";
