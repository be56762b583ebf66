//! Helpers for the tests of all crates: waiting, events, records, running services, and checks of their fault reports.
//! They panic on a timeout or an error, because a test cannot continue then.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, its helpers too"
)]

mod events;
mod faults;
mod records;
mod running;
mod wait;

use crate::Scope;

pub use self::events::{Event, event};
pub use self::faults::{tells, tells_end_of};
pub use self::records::{
    has_topic, header, headers, kafka_that_makes_topics, kafka_with, owned_headers, read_all, read_some,
};
pub use self::running::{Api, Running};
pub use self::wait::{TEST_TIMEOUT, found, until, until_blocking};
pub use crate::runbook::Report;
pub use crate::said::{json_lines, logged, sample, samples};

/// Runs blocking work on its own thread.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

pub async fn scope(name: &str) -> Scope {
    let name = name.to_owned();
    blocking(move || Scope::new(&name).unwrap()).await
}

/// A time zone in PostgreSQL's POSIX form: at this time, in whole seconds, a day of it begins, and an hour later it begins
/// once more, because the clock is put back over midnight. (Havana and the Azores do so.)
pub fn midnight_twice(first: time::OffsetDateTime) -> String {
    let first = first.to_offset(time::UtcOffset::UTC);
    let summer = i64::from(first.hour()) * 3_600 + i64::from(first.minute()) * 60 + i64::from(first.second());
    let offset = |seconds: i64| format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let day = first.ordinal() - 1;
    format!("<W>{}<S>{},{}/0,{day}/1", offset(summer + 3_600), offset(summer), (day + 265) % 365)
}

/// Names and values as owned strings.
pub fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An address on which nothing listens.
pub fn nobody() -> String {
    format!("127.0.0.1:{}", crate::port::free())
}

/// Writes this process's complete log as JSON to a file that `make test` searches (see [`logs`](crate::logs)).
/// Creates the file once and passes it to `start`, which directs the log there; returns its path.
pub fn keep_log(name: &str, start: impl FnOnce(std::fs::File)) -> &'static std::path::Path {
    static KEPT: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    KEPT.get_or_init(|| {
        let path = crate::logs::file(name).unwrap();
        start(std::fs::File::create(&path).unwrap());
        path
    })
}

/// The arguments of a command of the worker; one that works on a handler's group and topics works on the devices'
/// unless they name another one.
pub fn with_handler<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let is_of_handler = matches!(args.first(), Some(&("dlq" | "seek" | "resume")));
    let is_named = args.iter().any(|arg| arg.starts_with("--handler"));
    let named = (is_of_handler && !is_named).then_some("--handler=devices");
    args.iter().copied().chain(named).collect()
}

/// The report on the group of the devices' handler, from a worker's health.
pub fn group_of_devices(report: &serde_json::Value) -> &serde_json::Value {
    const OTHERS: [&str; 4] = ["-ads-group", "-read-model", "-files", "-validator"];
    let groups = report["groups"].as_object().into_iter().flatten();
    let is_of_devices = |name: &str| !OTHERS.iter().any(|other| name.ends_with(other));
    let mut of_devices = groups.filter(|(name, _)| is_of_devices(name)).map(|(_, group)| group);
    of_devices.next().unwrap_or(&serde_json::Value::Null)
}
