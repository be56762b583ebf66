//! A worker that has a fault says what `docs/operations.md` tells of it.

use std::time::{Duration, Instant};

use devstack::runbook::{Fault, Said};
use serde_json::Value;
use worker_service::worker::Worker;

use super::{PATIENCE, Process, log, metrics};

/// What is compared: while the fault lasts, or when it is over.
type Compare = fn(&Fault, &Said<'_>) -> Vec<String>;

impl Process {
    /// Waits until it says all that the runbook tells of this fault.
    pub(crate) async fn tells(&self, fault: &str) {
        self.says(fault, Fault::unsaid).await;
    }

    /// The same of its end.
    pub(crate) async fn tells_end_of(&self, fault: &str) {
        self.says(fault, Fault::unsaid_of_end).await;
    }

    async fn says(&self, fault: &str, compare: Compare) {
        let said = async || {
            let (ready, page) = (self.page("/health/ready").await, self.page("/metrics").await);
            let status = ready.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
            let body = ready.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
            (self.service.log(), page, status, body.unwrap_or_default())
        };
        wait(fault, compare, said).await;
    }
}

/// One in this process.
pub(crate) struct InProcess<'a>(pub(crate) &'a Worker);

impl InProcess<'_> {
    /// As of one in a process of its own.
    pub(crate) async fn tells(&self, fault: &str) {
        self.says(fault, Fault::unsaid).await;
    }

    /// The same of its end.
    pub(crate) async fn tells_end_of(&self, fault: &str) {
        self.says(fault, Fault::unsaid_of_end).await;
    }

    async fn says(&self, fault: &str, compare: Compare) {
        let said = async || {
            let (is_ready, body) = self.0.health.report();
            (log(), metrics().render(), if is_ready { 200 } else { 503 }, body)
        };
        wait(fault, compare, said).await;
    }
}

async fn wait(fault: &str, compare: Compare, said: impl AsyncFn() -> (String, String, u16, Value)) {
    let fault = Fault::named(fault).unwrap();
    // Twice: a gauge is set every 5 s, and some of it comes only when a minute is over.
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let (log, metrics, status, body) = said().await;
        let unsaid = compare(&fault, &Said { log: &log, metrics: &metrics, ready: (status, &body) });
        if unsaid.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{}: docs/operations.md tells what is not so: {unsaid:#?}", fault.name);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
