use std::time::{Duration, Instant};

use super::TEST_TIMEOUT;
use crate::runbook::{Fault, Report};

/// Waits until a worker's log, metrics and health show everything that the runbook lists for this fault.
pub async fn tells(fault: &str, report: impl AsyncFn() -> Report) {
    says(fault, Fault::unsaid, report).await;
}

/// The same for the end of the fault.
pub async fn tells_end_of(fault: &str, report: impl AsyncFn() -> Report) {
    says(fault, Fault::unsaid_of_end, report).await;
}

async fn says(fault: &str, unsaid: fn(&Fault, &Report) -> Vec<String>, report: impl AsyncFn() -> Report) {
    let (fault, begin) = (Fault::named(fault).unwrap(), Instant::now());
    loop {
        let unsaid = unsaid(&fault, &report().await);
        if unsaid.is_empty() {
            return;
        }
        // Twice the timeout: gauges are updated every 5 s, and some symptoms appear only after a minute.
        let is_late = begin.elapsed() > 2 * TEST_TIMEOUT;
        assert!(!is_late, "{}: docs/operations.md tells what is not so: {unsaid:#?}", fault.name);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
