//! Every connection takes a file descriptor, and the usual limit of 1,024 is none for a server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Those for everything else: Kafka's brokers, the pools, the log.
const OTHERS: usize = 128;

/// Raises the limit as far as it may be. Gives how many of so many connections there is room for:
/// past that, accepting would fail without anybody making room.
pub(super) fn enough_for(connections: u32) -> usize {
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    // None at all is no limit.
    let allowed = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let most = allowed.saturating_sub(OTHERS).max(1);
    if most < connections {
        tracing::warn!(allowed, connections = most, "the limit of open files is too low for MAX_CONNECTIONS");
    }
    connections.min(most)
}
