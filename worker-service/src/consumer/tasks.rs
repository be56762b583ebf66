//! Tasks that run beside the handlers as long as the worker runs: a settlement, a relay, an expiry. A task has a name
//! and a stop signal, restarts if it panics, and appears in the health report and in the metric `task_running`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::observe::panics::{self, RESTART_DELAY};

/// Runs a task once, until the token is cancelled because the worker shuts down.
pub type RunTask = Box<dyn Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// A task's state, as seen from outside; cloning shares it.
#[derive(Debug, Clone)]
pub struct TaskHealth {
    name: &'static str,
    state: Arc<TaskState>,
}

#[derive(Debug, Default)]
struct TaskState {
    running: AtomicBool,
    panics: AtomicU64,
}

impl TaskHealth {
    /// The state of a task that has not started.
    pub fn new(name: &'static str) -> Self {
        Self { name, state: Arc::default() }
    }

    /// The task's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.state.running.load(Ordering::Relaxed)
    }

    /// How often it panicked.
    pub fn panics(&self) -> u64 {
        self.state.panics.load(Ordering::Relaxed)
    }

    fn runs(&self, running: bool) {
        self.state.running.store(running, Ordering::Relaxed);
        metrics::gauge!("task_running", "task" => self.name).set(f64::from(running));
    }
}

/// Runs a task until `stop` is cancelled. If it panics, it restarts; if it ends by itself, that is logged.
pub async fn keep_running(run: RunTask, stop: CancellationToken, health: TaskHealth) {
    panics::begin_task(health.name);
    loop {
        health.runs(true);
        let outcome = panics::caught_async(run(stop.clone())).await;
        health.runs(false);
        match outcome {
            Ok(()) => {
                if !stop.is_cancelled() {
                    tracing::error!(task = health.name, "a task has ended by itself");
                }
                return;
            }
            Err(panicked) => {
                health.state.panics.fetch_add(1, Ordering::Relaxed);
                panics::tell_of_task(health.name, &panicked);
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(RESTART_DELAY)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_begins_anew_and_ends_when_it_is_told_to() {
        let stop = CancellationToken::new();
        let health = TaskHealth::new("test");
        let (began, mut begins) = watch::channel(0);
        let run: RunTask = Box::new(move |stop| {
            let began = began.clone();
            Box::pin(async move {
                began.send_modify(|times| *times += 1);
                assert!(*began.borrow() > 1, "a defect");
                stop.cancelled().await;
            })
        });
        let task = tokio::spawn(keep_running(run, stop.clone(), health.clone()));
        begins.wait_for(|times| *times == 2).await.unwrap();
        assert_eq!((health.panics(), health.is_running(), health.name()), (1, true, "test"));
        stop.cancel();
        task.await.unwrap();
        assert!(!health.is_running());
    }

    #[tokio::test]
    async fn a_task_is_told_to_stop_while_it_waits_to_begin_anew() {
        let stop = CancellationToken::new();
        let health = TaskHealth::new("test");
        let run: RunTask = Box::new(|_| Box::pin(async { panic!("a defect") }));
        let task = tokio::spawn(keep_running(run, stop.clone(), health.clone()));
        stop.cancel();
        task.await.unwrap();
        assert_eq!(health.panics(), 1);
    }
}
