//! Tasks that run beside a domain's routes. A task that panics is restarted.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// The wait before a task that panicked is restarted.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Starts a task, which runs until it is dropped.
pub type RunTask = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Runs a task until it is dropped. Restarts it if it panics; logs an error if it ends.
pub async fn keep_running(task: &'static str, run: RunTask) {
    // The panic hook has logged the place already.
    while AssertUnwindSafe(run()).catch_unwind().await.is_err() {
        tracing::error!(task, "a task panicked: it restarts");
        tokio::time::sleep(RESTART_DELAY).await;
    }
    tracing::error!(task, "a task has ended by itself");
}
