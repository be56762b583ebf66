//! Why a Redis command failed.

use std::sync::Arc;

use redis::RedisError;

#[derive(Debug, thiserror::Error)]
pub(super) enum CommandFailure {
    /// Redis works, and answered with this error.
    #[error(transparent)]
    Answered(RedisError),
    /// It did not answer in time, cannot serve, or is known to be away.
    #[error("no answer from Redis")]
    Away,
    /// It refuses writes, or refused the last one, with this error text.
    #[error("Redis refuses writes: {0}")]
    Refuses(Arc<str>),
}

impl CommandFailure {
    /// Whether Redis answered with an error of this code.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Answered(error) if error.code() == Some(code))
    }
}
