//! The Tokio runtime of a service, and its termination signals.

use std::ffi::OsStr;
use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinError;

/// Tokio's own variable. It is read here, because Tokio panics on an invalid value.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";
/// More threads would be of no use.
const MOST_THREADS: usize = 1_024;

/// The runtime, with as many threads as [`threads`] says.
pub fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads()?).enable_all().build().context("the runtime cannot be started")
}

/// How many threads share the work: `TOKIO_WORKER_THREADS`, or one per processor that this process may use.
pub fn threads() -> anyhow::Result<usize> {
    let given = worker_threads(std::env::var_os(WORKER_THREADS).as_deref())?;
    Ok(given.unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get)))
}

fn worker_threads(value: Option<&OsStr>) -> anyhow::Result<Option<usize>> {
    let Some(value) = value else { return Ok(None) };
    let threads = value.to_str().and_then(|value| value.trim().parse().ok());
    let threads = threads.filter(|threads| (1..=MOST_THREADS).contains(threads));
    let wanted = || format!("{WORKER_THREADS} must be a number from 1 to {MOST_THREADS}, or not set");
    threads.map(Some).with_context(wanted)
}

/// Waits for SIGTERM or SIGINT, and returns its name. The handlers are installed by the call itself, so that a signal
/// before the future is awaited is not lost. A service calls this before it logs that it listens.
pub fn termination() -> io::Result<impl Future<Output = &'static str> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// The error for a task without a result. Tokio's own error quotes the panic's message, which may contain data from
/// outside; the panic's place is in the log.
pub fn no_result(error: JoinError) -> anyhow::Error {
    anyhow::Error::msg(if error.is_panic() { "a task panicked" } else { "a task was dropped" })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, id};

    use super::*;

    #[test]
    fn a_number_of_threads_that_is_none_is_refused_by_name() {
        use std::os::unix::ffi::OsStrExt as _;

        let of = |value: &[u8]| worker_threads(Some(OsStr::from_bytes(value)));
        assert_eq!(worker_threads(None).unwrap(), None);
        for (value, threads) in [("1", 1), (" 4\n", 4), ("1024", 1_024), ("+2", 2)] {
            assert_eq!(of(value.as_bytes()).unwrap(), Some(threads), "{value:?}");
        }
        for value in [&b""[..], b" ", b"0", b"1025", b"-1", b"planted", b"1.5", b"99999999999999999999", b"\xff"] {
            let error = of(value).unwrap_err().to_string();
            assert_eq!(error, "TOKIO_WORKER_THREADS must be a number from 1 to 1024, or not set", "{value:?}");
        }
    }

    #[tokio::test]
    async fn what_a_panic_says_is_not_told_with_the_task_that_has_no_result() {
        let error = tokio::spawn(async { panic!("planted") }).await.map(|()| 0).unwrap_err();
        assert!(error.to_string().contains("planted"), "tokio quotes it: {error}");
        assert_eq!(format!("{:?}", no_result(error)).lines().next(), Some("a task panicked"));
        let dropped = tokio::spawn(std::future::pending::<()>());
        dropped.abort();
        assert_eq!(no_result(dropped.await.unwrap_err()).to_string(), "a task was dropped");
    }

    #[tokio::test]
    async fn a_signal_before_anybody_waits_is_not_lost() {
        let told = termination().unwrap();
        // The shell's builtin `kill`, because not every machine has the command.
        let kill = format!("kill -TERM {}", id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(told.await, "SIGTERM");
    }
}
