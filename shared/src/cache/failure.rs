//! Why Redis gives no answer to use.

use std::sync::Arc;

use redis::RedisError;

/// Why there is no answer to use.
#[derive(Debug)]
pub(super) enum Failure {
    /// Redis is well, and answered with this error.
    Answered(RedisError),
    /// It did not answer in time, cannot serve, or is known to be away.
    Away,
    /// It refuses writes, or did when it was last asked. These are its words.
    Refuses(Arc<str>),
}

impl Failure {
    /// Whether Redis answered with an error of this code.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Answered(error) if error.code() == Some(code))
    }
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answered(error) => error.into(),
            Failure::Away => anyhow::anyhow!("no answer from Redis"),
            Failure::Refuses(why) => anyhow::anyhow!("Redis refuses writes: {why}"),
        }
    }
}
