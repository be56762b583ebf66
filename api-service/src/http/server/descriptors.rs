//! Every connection needs a file descriptor, and the usual limit of 1,024 is too low for a server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything else: Kafka's brokers, the pools, the log.
const OTHERS: usize = 128;

/// How many of these connections the limit of open files allows when it is raised: beyond that, `accept` would fail
/// until a connection happens to close.
pub(super) fn allowed(connections: u32) -> usize {
    // `None` means unlimited.
    let most = getrlimit(Resource::Nofile).maximum.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    usize::try_from(connections).unwrap_or(usize::MAX).min(most.saturating_sub(OTHERS).max(1))
}

/// Raises the limit of open files to its maximum. Returns how many of these connections it allows.
pub(super) fn enough_for(connections: u32) -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let allowed = allowed(connections);
    if u32::try_from(allowed).is_ok_and(|allowed| allowed < connections) {
        tracing::warn!(connections = allowed, "the limit of open files is too low for MAX_CONNECTIONS");
    }
    allowed
}
