//! The progress messages of `devstack dev`.

use std::time::Instant;

pub(crate) fn say(what: &str) {
    println!("devstack: {what}");
}

/// Prints the title, does the work, and prints how long it took.
pub(crate) fn step<T>(title: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    say(&format!("{title} …"));
    let from = Instant::now();
    let result = work();
    let failed = if result.is_ok() { "" } else { "FAILED after " };
    say(&format!("{title}: {failed}{:.1} s", from.elapsed().as_secs_f64()));
    result
}
