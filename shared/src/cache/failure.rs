//! Why Redis gives no answer to use.

use std::sync::Arc;

use redis::RedisError;

/// Why there is no answer to use.
#[derive(Debug)]
pub(super) enum CommandFailure {
    /// Redis is well, and answered with this error.
    Answered(RedisError),
    /// It did not answer in time, cannot serve, or is known to be away.
    Away,
    /// It refuses writes, or did when it was last asked. These are its words.
    Refuses(Arc<str>),
}

impl CommandFailure {
    /// Whether Redis answered with an error of this code.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Answered(error) if error.code() == Some(code))
    }
}

impl From<CommandFailure> for anyhow::Error {
    fn from(failure: CommandFailure) -> Self {
        match failure {
            CommandFailure::Answered(error) => error.into(),
            CommandFailure::Away => anyhow::anyhow!("no answer from Redis"),
            CommandFailure::Refuses(why) => anyhow::anyhow!("Redis refuses writes: {why}"),
        }
    }
}
