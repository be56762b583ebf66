//! Catches panics where code runs for one partition: a defect that one record triggers ends neither the process nor the
//! other partitions.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::FutureExt as _;

/// A panic that was caught. Its message is not kept: it may quote external data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked{}", .place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default())]
pub struct Panicked {
    /// File, line and column, if [`log_panics`] saw it.
    place: Option<String>,
}

impl Panicked {
    /// Counts and logs it. Either may have been the code that panicked, so both are caught.
    pub fn tell(&self, group: &str, partition: i32) {
        let _ = caught(|| metrics::counter!("panics_total", "group" => group.to_owned()).increment(1));
        let _ = caught(|| tracing::error!(group, partition, error = %self, "a panic was caught"));
    }
}

/// How long a task waits after a panic until it restarts.
pub const RESTART_DELAY: Duration = Duration::from_secs(1);

thread_local! {
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Logs every panic of the process, and remembers its place for [`caught`].
pub fn log_panics() {
    shared::runtime::telemetry::log_panics();
    let log = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log(panic);
        PLACE.set(panic.location().map(ToString::to_string));
    }));
}

/// Runs code that may panic. After a panic, the state that it changed may be inconsistent.
pub fn caught<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    PLACE.set(None);
    catch_unwind(AssertUnwindSafe(code)).map_err(|_| panicked())
}

/// Like [`caught`], for a future. After a panic, the values that the future used must not be used again.
pub async fn caught_async<T>(code: impl Future<Output = T>) -> Result<T, Panicked> {
    // One poll panics and is caught on one thread, whichever thread that is.
    AssertUnwindSafe(code).catch_unwind().await.map_err(|_| panicked())
}

/// Runs a task of the process forever, and restarts it after a panic.
pub async fn keep_running<F: Future<Output = ()>>(task: &'static str, run: impl Fn() -> F) {
    begin_task(task);
    while let Err(panicked) = caught_async(run()).await {
        tell_of_task(task, &panicked);
        tokio::time::sleep(RESTART_DELAY).await;
    }
}

/// Starts the panic counter of a task at 0, because an alert uses it.
pub fn begin_task(task: &'static str) {
    metrics::counter!("panics_total", "task" => task).increment(0);
}

/// Counts and logs the panic of a task that is about to restart.
pub fn tell_of_task(task: &'static str, panicked: &Panicked) {
    let _ = caught(|| metrics::counter!("panics_total", "task" => task).increment(1));
    let _ = caught(|| tracing::error!(task, error = %panicked, "a panic was caught"));
}

fn panicked() -> Panicked {
    Panicked { place: PLACE.take() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_and_what_does_not_panic_comes_back() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| panic!("secret")).map(|()| 0).unwrap_err().to_string(), "panicked");
        assert_eq!(caught_async(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("secret")
        };
        assert_eq!(caught_async(late).await.map(|()| 0).unwrap_err().to_string(), "panicked");
        let runs = Cell::new(0);
        let run = async || {
            runs.set(runs.get() + 1);
            assert!(runs.get() > 1, "a defect");
        };
        keep_running("test", run).await;
        assert_eq!(runs.get(), 2, "it began anew");
        PLACE.set(Some("src/x.rs:1:2".into()));
        assert_eq!(panicked().to_string(), "panicked at src/x.rs:1:2");
    }
}
