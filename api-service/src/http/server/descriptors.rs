//! Every connection needs a file descriptor, and the usual limit of 1,024 is too low for a server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything else: Kafka's brokers, the pools, the log.
const OTHERS: usize = 128;

/// Raises the limit of open files to its maximum. Returns how many of these connections fit: beyond that, `accept`
/// would fail until a connection happens to close.
pub(super) fn enough_for(connections: u32) -> usize {
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    // `None` means unlimited.
    let allowed = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let most = allowed.saturating_sub(OTHERS).max(1);
    if most < connections {
        tracing::warn!(allowed, connections = most, "the limit of open files is too low for MAX_CONNECTIONS");
    }
    connections.min(most)
}
