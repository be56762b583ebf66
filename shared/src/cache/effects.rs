//! What it means for its users that a Redis does not work, for the log.

/// Ends of log messages.
#[derive(Debug)]
pub(super) struct Effects {
    /// It does not answer.
    pub(super) away: &'static str,
    /// It refuses some commands.
    pub(super) refuses: &'static str,
    /// It has become a replica.
    pub(super) replica: &'static str,
}

/// Of the cache.
pub(super) static CACHE: Effects = Effects {
    away: "reads come from PostgreSQL",
    refuses: "refused writes are not cached, and no cached state is older than CACHE_TTL",
    replica: "reads come from PostgreSQL, and fences wait",
};

/// Of bounded sets of ids.
pub(super) static ID_SETS: Effects = Effects {
    away: "it is not known which ids its sets have",
    refuses: "it is not known which ids its sets have",
    replica: "it is not known which ids its sets have",
};
