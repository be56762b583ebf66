//! Failures, with a class that decides what happens next. A handler that calls a file store or a webhook chooses the
//! class itself; the errors of PostgreSQL are classified in one table.

pub(super) const IS_A_STANDBY: &str = "it accepts no writes: it is a standby";
pub(super) const IS_READ_ONLY: &str = "it accepts no writes: transaction_read_only is on";

/// The kind of a failure, which decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The data itself can never be processed.
    Poison,
    /// Processing failed on this data; another attempt may succeed.
    Failed,
    /// Our code panicked on this data, which is a bug; another attempt may succeed.
    Panicked,
    /// Two transactions conflicted; run the same one again, at once.
    Again,
    /// A server is away, and nothing was attempted there: no event caused it.
    Outage,
    /// Probably an outage: an error of the server, a timeout, or a lost connection. If only one record meets it,
    /// the record causes it.
    OutageMet,
}

impl Class {
    /// Whether it is probably an outage: it says nothing about the data, and the connection's state is unknown.
    pub const fn is_outage(self) -> bool {
        match self {
            Self::Outage | Self::OutageMet => true,
            Self::Poison | Self::Failed | Self::Panicked | Self::Again => false,
        }
    }
}

/// A failure, with its class. The text contains no payload and no secret. Any query may return the failure of a
/// PostgreSQL that is away or too slow.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// The class, which decides what happens next.
    pub class: Class,
    /// For the log and for `dlq.error`.
    pub reason: String,
}

impl Failure {
    /// The data can never be processed: the event becomes a dead letter at once.
    pub fn poison(reason: impl Into<String>) -> Self {
        Self::new(Class::Poison, reason)
    }

    /// Processing failed on this data: the event is retried a few times, then becomes a dead letter.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::new(Class::Failed, reason)
    }

    /// A concurrent change got in the way: the same is run again, at once.
    pub fn again(reason: impl Into<String>) -> Self {
        Self::new(Class::Again, reason)
    }

    /// A server gave no answer, or an error that says nothing about the data: the partition waits until the server
    /// works.
    pub fn outage(reason: impl Into<String>) -> Self {
        Self::new(Class::OutageMet, reason)
    }

    /// A server is away, and nothing was attempted there: the partition waits, and no event is suspected.
    pub fn away(reason: impl Into<String>) -> Self {
        Self::new(Class::Outage, reason)
    }

    /// The code that applied events panicked; the reason has only the place.
    pub fn panicked(reason: impl Into<String>) -> Self {
        Self::new(Class::Panicked, reason)
    }

    fn new(class: Class, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }

    /// The server has become read-only, so its answer does not count: its connection is closed.
    pub fn read_only() -> Self {
        Self::outage(IS_READ_ONLY)
    }

    /// The query was given up.
    pub fn unanswered() -> Self {
        Self::away("the query was given up")
    }

    /// There is no connection, or no transaction began on it: no event can be the cause.
    pub(super) fn before_begin(error: sqlx::Error) -> Self {
        Self { class: Class::Outage, ..error.into() }
    }
}
