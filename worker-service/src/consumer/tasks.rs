//! Tasks that run beside the handlers as long as the worker runs: a settlement, a relay, an expiry. A task has a name
//! and a stop signal, restarts if it panics, and appears in the health report, in the metric `task_running`, and in the
//! metrics for CloudWatch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use shared::runtime::telemetry;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::observe::emf::{EmfConfig, Emitter, Totals};
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

/// How often it is checked whether metrics for CloudWatch are due.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Writes the metrics of these tasks for CloudWatch, forever; returns at once if there are none to write.
pub async fn report(config: &EmfConfig, tasks: &[TaskHealth]) {
    let now = OffsetDateTime::now_utc();
    let emitter = |task: &TaskHealth| Some((task.clone(), Emitter::new(config, ("Task", task.name), now)?));
    let mut emitters: Vec<_> = tasks.iter().filter_map(emitter).collect();
    while !emitters.is_empty() {
        tokio::time::sleep(REPORT_INTERVAL.min(config.interval)).await;
        let now = OffsetDateTime::now_utc();
        let totals = Totals { log_lines_dropped: telemetry::log_lines_dropped(), ..Totals::default() };
        for (task, emitter) in &mut emitters {
            if emitter.is_due(now) && telemetry::log_metrics(&emitter.task_document(task.is_running(), totals, now)) {
                emitter.told(totals);
            }
        }
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
