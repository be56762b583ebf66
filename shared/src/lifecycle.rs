//! How a service is told to end.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGTERM or SIGINT, and names it.
///
/// # Errors
/// The handlers cannot be installed.
pub async fn termination() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
