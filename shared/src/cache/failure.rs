//! Why Redis gives no answer to use.

use std::sync::Arc;

use redis::RedisError;

#[derive(Debug, thiserror::Error)]
pub(super) enum CommandFailure {
    /// Redis is well, and answered with this error.
    #[error(transparent)]
    Answered(RedisError),
    /// It did not answer in time, cannot serve, or is known to be away.
    #[error("no answer from Redis")]
    Away,
    /// It refuses writes, or did when it was last asked. These are its words.
    #[error("Redis refuses writes: {0}")]
    Refuses(Arc<str>),
}

impl CommandFailure {
    /// Whether Redis answered with an error of this code.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Answered(error) if error.code() == Some(code))
    }
}
