//! How a service is told to end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

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

    #[tokio::test]
    async fn a_signal_before_anybody_waits_is_not_lost() {
        let told = termination().unwrap();
        // The shell's own `kill`: not every machine has the command.
        let kill = format!("kill -TERM {}", id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(told.await, "SIGTERM");
    }
}
