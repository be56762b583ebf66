//! What a service runs on, and how it is told to end.

use std::ffi::OsStr;
use std::io;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// tokio's own variable. It is read here, because tokio panics at a value that it does not understand.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";
/// More are of no use to anybody.
const MOST_THREADS: usize = 1_024;

/// The runtime, with as many threads as `TOKIO_WORKER_THREADS` says, or as there are processors.
///
/// # Errors
/// The variable is no number of threads; or the machine has no room for a runtime.
pub fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = worker_threads(std::env::var_os(WORKER_THREADS).as_deref())? {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().context("the runtime cannot be started")
}

fn worker_threads(value: Option<&OsStr>) -> anyhow::Result<Option<usize>> {
    let Some(value) = value else { return Ok(None) };
    let threads = value.to_str().and_then(|value| value.trim().parse().ok());
    let threads = threads.filter(|threads| (1..=MOST_THREADS).contains(threads));
    let wanted = || format!("{WORKER_THREADS} must be a number from 1 to {MOST_THREADS}, or not set");
    threads.map(Some).with_context(wanted)
}

/// Waits for SIGTERM or SIGINT, and names it. From this call on neither ends the process by itself: one that comes
/// before the future is awaited is not lost, so a service calls it before it says that it listens.
///
/// # Errors
/// The handlers cannot be installed.
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
    async fn a_signal_before_anybody_waits_is_not_lost() {
        let told = termination().unwrap();
        // The shell's own `kill`: not every machine has the command.
        let kill = format!("kill -TERM {}", id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(told.await, "SIGTERM");
    }
}
