//! The way of a log line: into a queue in memory, and from there to the descriptor by a thread of its own.
//!
//! Nothing that logs ever waits for who reads the log: a stuck log driver would stop requests, batches and the end of
//! the process with it. A line that finds no room is dropped and counted. Errors and metrics have room kept for them,
//! which ordinary lines cannot take: the first are wanted most when much is logged, and scaling reads the second.
//!
//! tracing-appender's non-blocking writer bounds the number of its lines and not their bytes, and keeps no room for
//! some of them.

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
    /// What a line is, as far as its room is concerned.
    pub(super) Kind { Ordinary = "ordinary", Error = "error", Metrics = "metrics" }
);

impl Kind {
    /// How many bytes may wait, this line included.
    const fn limit(self) -> usize {
        match self {
            Self::Ordinary => 3 * 1024 * 1024,
            Self::Error => 3 * 1024 * 1024 + 768 * 1024,
            Self::Metrics => 4 * 1024 * 1024,
        }
    }
}

const DROPPED: &str = "log_lines_dropped_total";
/// Of lines that could not be written.
const UNWRITABLE: &str = "unwritable";
/// What is said when somebody reads again; an alarm looks for it.
const SAID: &str = "log lines were dropped: nobody read the log in time";
/// Written at once, so that room is made in steps where the reader is slow.
const PIECE: usize = 64 * 1024;
/// What a buffer keeps of its memory when it is empty.
const KEPT: usize = 2 * PIECE;
/// How soon a descriptor that does not block is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// Says of the counter what it counts, and begins it with 0: alerts look at its increase.
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
    /// Lines that were dropped so far, for whatever reason.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines that wait.
    waiting: Vec<u8>,
    /// Bytes that the thread has taken, and not written yet.
    in_hand: usize,
    /// Whether the thread has nothing to do.
    is_idle: bool,
    /// Lines that were dropped since the thread last said so.
    dropped: u64,
}

impl Shared {
    fn lose(&self, lines: u64, kind: &'static str) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        counter!(DROPPED, "kind" => kind).increment(lines);
    }
}

impl LogQueue {
    /// Starts the thread that writes into this.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&of_thread, out))?;
        Ok(Self(shared))
    }

    /// Takes a whole line in, or drops it, and says whether it did; never waits for who reads the log.
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

    /// How many lines were dropped so far, for want of room or because they could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, and so long at most; says whether it is.
    pub(super) fn flush(&self, at_most: Duration) -> bool {
        let is_left = |state: &mut State| !state.waiting.is_empty() || state.in_hand > 0;
        let mut state = self.0.state.lock();
        self.0.emptied.wait_while_for(&mut state, is_left, at_most);
        !is_left(&mut state)
    }
}

/// The thread: writes whatever comes, for ever.
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
        // Only now somebody reads again.
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
            // Whoever has the same terminal or pipe open may have made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(AGAIN);
                continue;
            }
            // Nobody reads it any more, or its disk is full: nobody is there to tell.
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

/// Takes one line: the formatter writes each as a whole.
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
