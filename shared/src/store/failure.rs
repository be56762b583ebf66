//! Why something failed, for whoever decides what happens next. A handler that calls a file store or a webhook says it
//! by itself; what PostgreSQL answers is classified in one table.

pub(super) const IS_A_STANDBY: &str = "it accepts no writes: it is a standby";
pub(super) const IS_READ_ONLY: &str = "it accepts no writes: transaction_read_only is on";

/// What to do with what failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The data itself can never be processed.
    Poison,
    /// Processing failed on this data; another try may succeed.
    Failed,
    /// Our own code panicked on this data: a defect; another try may succeed.
    Panicked,
    /// Two transactions met; the same one again, at once.
    Again,
    /// A server is away, and nothing was tried there: it is no event's fault.
    Outage,
    /// An outage, as far as one try can tell: the server's answer to it, a deadline, or the end of its connection. Where
    /// one record alone meets it, it is the record's own.
    OutageMet,
}

impl Class {
    /// Whether it is an outage, as far as one try can tell: no verdict on the data, and the connection is in doubt.
    pub const fn is_outage(self) -> bool {
        match self {
            Self::Outage | Self::OutageMet => true,
            Self::Poison | Self::Failed | Self::Panicked | Self::Again => false,
        }
    }
}

/// A failure, with what to do about it. The text holds no payload and no secret. Any query may come to the one of a
/// PostgreSQL that is away, or too slow.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// What to do.
    pub class: Class,
    /// For the log and for `dlq.error`.
    pub reason: String,
}

impl Failure {
    /// The data can never be processed: the event becomes a dead letter at once.
    pub fn poison(reason: impl Into<String>) -> Self {
        Self::new(Class::Poison, reason)
    }

    /// Processing failed on this data: the event is tried again a few times, and then becomes a dead letter.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::new(Class::Failed, reason)
    }

    /// It met somebody else's change: the same again, at once.
    pub fn again(reason: impl Into<String>) -> Self {
        Self::new(Class::Again, reason)
    }

    /// A server gave no answer, or one that is no verdict on the data: the partition waits until it is well again.
    pub fn outage(reason: impl Into<String>) -> Self {
        Self::new(Class::OutageMet, reason)
    }

    /// A server is away, and nothing was tried there: the partition waits, and no event is suspected.
    pub fn away(reason: impl Into<String>) -> Self {
        Self::new(Class::Outage, reason)
    }

    /// The code that applied something panicked; the reason says where, and no more.
    pub fn panicked(reason: impl Into<String>) -> Self {
        Self::new(Class::Panicked, reason)
    }

    fn new(class: Class, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }

    /// A server answered that takes no writes any more, and whose answer does not count: its connection is closed.
    pub fn read_only() -> Self {
        Self::outage(IS_READ_ONLY)
    }

    /// What was asked for was given up.
    pub fn unanswered() -> Self {
        Self::away("the query was given up")
    }

    /// There is no connection, or no transaction began on it: it has met no event yet.
    pub(super) fn before_begin(error: sqlx::Error) -> Self {
        Self { class: Class::Outage, ..error.into() }
    }
}
