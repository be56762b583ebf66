use std::time::{Duration, Instant};

use super::PATIENCE;
use crate::runbook::{Fault, Report};

/// Waits until a worker says all that the runbook tells of this fault.
pub async fn tells(fault: &str, report: impl AsyncFn() -> Report) {
    says(fault, Fault::unsaid, report).await;
}

/// The same of the fault's end.
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
        // Twice: a gauge is set every 5 s, and some of it comes only when a minute is over.
        let is_late = begin.elapsed() > 2 * PATIENCE;
        assert!(!is_late, "{}: docs/operations.md tells what is not so: {unsaid:#?}", fault.name);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
