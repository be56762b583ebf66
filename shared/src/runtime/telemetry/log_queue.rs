//! The queue of log lines in memory; a separate thread writes them to the file descriptor.
//!
//! Code that logs never waits for the reader of the log: otherwise a stuck log driver would block requests, batches and
//! the end of the process. If there is no room, a line is dropped and counted. Ordinary lines cannot use the room
//! reserved for errors and metrics: errors matter most when much is logged, and scaling uses the metrics.
//!
//! tracing-appender's non-blocking writer limits the number of lines but not their bytes, and cannot reserve room.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use metrics::counter;
use parking_lot::{Condvar, Mutex};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::runtime::named::named;

named!(
    /// The kind of a line, which decides how much room it has.
    pub(super) Kind { Ordinary = "ordinary", Error = "error", Metrics = "metrics" }
);

impl Kind {
    /// The most waiting bytes, including this line.
    const fn limit(self) -> usize {
        match self {
            Self::Ordinary => 3 * 1024 * 1024,
            Self::Error => 3 * 1024 * 1024 + 768 * 1024,
            Self::Metrics => 4 * 1024 * 1024,
        }
    }
}

const DROPPED: &str = "log_lines_dropped_total";
/// The `kind` label for lines that could not be written.
const UNWRITABLE: &str = "unwritable";
/// The log message when lines can be written again; an alarm matches it.
const SAID: &str = "log lines were dropped: nobody read the log in time";
/// The bytes per write, so that a slow reader frees room in steps.
const PIECE: usize = 64 * 1024;
/// The capacity that an empty buffer keeps.
const KEPT: usize = 2 * PIECE;
/// The pause before the next attempt on a non-blocking descriptor.
const AGAIN: Duration = Duration::from_millis(10);

/// Describes the counter and starts it at 0: alerts look at its increase.
pub(super) fn describe() {
    metrics::describe_counter!(DROPPED, "Log lines that were dropped, because nobody read the log in time, by kind.");
    for kind in Kind::NAMES.into_iter().chain([UNWRITABLE]) {
        counter!(DROPPED, "kind" => kind).increment(0);
    }
}

/// The queue; cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// Everything is written.
    emptied: Condvar,
    /// The lines dropped so far, for any reason.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The waiting lines, all complete.
    waiting: Vec<u8>,
    /// The bytes that the thread has taken but not written yet.
    in_hand: usize,
    /// Whether the thread has nothing to do.
    is_idle: bool,
    /// The lines dropped since the thread last logged their number.
    dropped: u64,
}

impl Shared {
    fn lose(&self, lines: u64, kind: &'static str) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        counter!(DROPPED, "kind" => kind).increment(lines);
    }
}

impl LogQueue {
    /// Starts the thread that writes to `out`.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&of_thread, out))?;
        Ok(Self(shared))
    }

    /// Adds a complete line, or drops it and returns false. Never waits for the reader of the log.
    pub(super) fn push(&self, kind: Kind, line: &[u8]) -> bool {
        let mut state = self.0.state.lock();
        if state.waiting.len() + state.in_hand + line.len() > kind.limit() {
            state.dropped += 1;
            drop(state);
            self.0.lose(1, kind.as_str());
            return false;
        }
        state.waiting.extend_from_slice(line);
        if std::mem::take(&mut state.is_idle) {
            self.0.filled.notify_one();
        }
        true
    }

    /// The number of lines dropped so far because there was no room or they could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, at most for `at_most`; returns whether it is.
    pub(super) fn flush(&self, at_most: Duration) -> bool {
        let is_left = |state: &mut State| !state.waiting.is_empty() || state.in_hand > 0;
        let mut state = self.0.state.lock();
        self.0.emptied.wait_while_for(&mut state, is_left, at_most);
        !is_left(&mut state)
    }
}

/// The thread's loop: writes lines forever.
fn write_all(shared: &Shared, mut out: impl Write) {
    let mut taken = Vec::new();
    loop {
        let mut state = shared.state.lock();
        while state.waiting.is_empty() {
            shared.emptied.notify_all();
            state.is_idle = true;
            shared.filled.wait(&mut state);
        }
        std::mem::swap(&mut state.waiting, &mut taken);
        state.in_hand = taken.len();
        drop(state);
        write_pieces(shared, &mut out, &taken);
        taken.clear();
        taken.shrink_to(KEPT);
        // A write succeeded, so the log can be read again: report the dropped lines.
        let dropped = std::mem::take(&mut shared.state.lock().dropped);
        if dropped > 0 {
            tracing::error!(dropped, "{SAID}");
        }
    }
}

fn write_pieces(shared: &Shared, out: &mut impl Write, mut left: &[u8]) {
    while let Some(piece) = left.get(..left.len().min(PIECE)).filter(|piece| !piece.is_empty()) {
        let written = match out.write(piece) {
            Ok(written) if written > 0 => written,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // Another process with the same terminal or pipe may have made the descriptor non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(AGAIN);
                continue;
            }
            // The reader is gone or the disk is full, so this cannot be logged.
            Ok(_) | Err(_) => {
                let lines = left.iter().filter(|byte| **byte == b'\n').count();
                shared.lose(lines as u64, UNWRITABLE);
                shared.state.lock().in_hand = 0;
                return;
            }
        };
        left = left.get(written..).unwrap_or_default();
        shared.state.lock().in_hand = left.len();
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { queue: self, kind: Kind::Ordinary }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let kind = if *metadata.level() == Level::ERROR { Kind::Error } else { Kind::Ordinary };
        LineWriter { queue: self, kind }
    }
}

/// Writes one line: the formatter writes each line with one call.
#[derive(Debug)]
pub(super) struct LineWriter<'a> {
    queue: &'a LogQueue,
    kind: Kind,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(self.kind, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
