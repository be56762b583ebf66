//! What runs beside a domain's routes. A task that panics begins again.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// How long a task that panicked waits until it begins again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Runs a task, until it is dropped.
pub type RunTask = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Runs a task until it is dropped. If it panics, it begins again; if it ends, an error is logged.
pub async fn keep_running(task: &'static str, run: RunTask) {
    // The panic itself has logged where it happened.
    while AssertUnwindSafe(run()).catch_unwind().await.is_err() {
        tracing::error!(task, "a task panicked: it begins again");
        tokio::time::sleep(RESTART_DELAY).await;
    }
    tracing::error!(task, "a task has ended by itself");
}
