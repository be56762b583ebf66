//! Decides whether an idle connection may be used again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::PgConnection;
use tokio::time::timeout;

use super::connect::takes_writes;

/// A connection that was idle for longer is checked before use.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// The timeout of the check: half of the time to acquire a connection, so that there is time for another one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// When an idle connection last gave no answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Idle {
    silent: Arc<Mutex<Option<Instant>>>,
}

impl Idle {
    /// Checks an idle connection. If one gives no answer, a firewall or a vanished server has probably cut all
    /// connections of that time silently. Those are then closed without a check, because each check would cost a caller
    /// a second.
    pub(super) async fn check(
        &self,
        connection: &mut PgConnection,
        age: Duration,
        idle_for: Duration,
    ) -> Result<bool, sqlx::Error> {
        if idle_for <= TRUSTED_IDLE {
            return Ok(true);
        }
        if self.is_doubtful(Instant::now(), age) {
            return Err(sqlx::Error::PoolTimedOut);
        }
        if let Ok(answer) = timeout(ANSWER_TIMEOUT, takes_writes(connection)).await {
            return answer.map(|()| true);
        }
        *self.silent.lock() = Some(Instant::now());
        Err(sqlx::Error::PoolTimedOut)
    }

    /// Whether a connection of this age is older than the last failed check.
    fn is_doubtful(&self, now: Instant, age: Duration) -> bool {
        self.silent.lock().is_some_and(|silent| now.saturating_duration_since(silent) < age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_before_are_doubtful_and_those_made_since_are_not() {
        let idle = Idle::default();
        let now = Instant::now();
        assert!(!idle.is_doubtful(now, Duration::from_secs(3600)));
        *idle.silent.lock() = Some(now);
        let later = now + Duration::from_secs(10);
        for (age, doubtful) in [(9, false), (11, true)] {
            assert_eq!(idle.is_doubtful(later, Duration::from_secs(age)), doubtful, "{age}");
        }
    }
}
