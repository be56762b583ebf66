//! Ctrl-C and SIGTERM: the first signal starts a graceful shutdown, the second exits at once.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicU32 = AtomicU32::new(0);
/// The first signal's number; 0 before it.
static FIRST: AtomicU32 = AtomicU32::new(0);

pub(crate) fn listen() -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot listen for signals")?;
    let streams = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    std::thread::spawn(move || runtime.block_on(count(streams)));
    Ok(())
}

type Stream = tokio::signal::unix::Signal;

async fn count((mut interrupt, mut terminate, mut hangup): (Stream, Stream, Stream)) {
    loop {
        let number = tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            _ = hangup.recv() => 1,
        };
        let _ = FIRST.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
        if ASKED.fetch_add(1, Ordering::Relaxed) > 0 {
            eprintln!("devstack: killed");
            // The kernel kills our children when we exit.
            std::process::exit(130);
        }
    }
}

pub(crate) fn asked() -> bool {
    first().is_some()
}

/// The number of the signal that started the shutdown.
pub(crate) fn first() -> Option<u8> {
    match FIRST.load(Ordering::Relaxed) {
        0 => None,
        number => u8::try_from(number).ok(),
    }
}
