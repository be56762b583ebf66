//! Copies the services' output into files through pipes. It can stop reading the pipes, to simulate a log driver that
//! is stuck.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::pipe::fcntl_setpipe_size;

/// The capacity of a pipe. This is the smallest possible, so that a few lines fill it.
const ROOM: usize = 4096;
/// A pipe with less free space than this counts as full, because it does not take part of a line.
const LONG_LINE: usize = 1024;

/// Reads the services' output unless it is stopped; clones share the state.
#[derive(Debug, Default, Clone)]
pub struct LogReader(Arc<Reading>);

#[derive(Debug, Default)]
struct Reading {
    is_stopped: AtomicBool,
    full: AtomicUsize,
}

impl LogReader {
    /// A reader that is stopped at first: a service that starts then has a full pipe.
    pub fn stopped() -> Self {
        let reader = Self::default();
        reader.read(false);
        reader
    }

    pub fn read(&self, on: bool) {
        self.0.is_stopped.store(!on, Ordering::Relaxed);
    }

    /// The number of pipes so far that were full when reading resumed.
    pub fn full(&self) -> usize {
        self.0.full.load(Ordering::Relaxed)
    }

    /// The writing end of a pipe into this file.
    pub(crate) fn pipe_into(&self, log: &Path) -> anyhow::Result<PipeWriter> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let (reader, mut writer) = pipe().context("no pipe")?;
        fcntl_setpipe_size(&writer, ROOM).context("a pipe of another size")?;
        if self.is_stopped() {
            // This does not block: the pipe has exactly this capacity.
            writer.write_all(&[b'\n'; ROOM])?;
        }
        let of_thread = self.clone();
        thread::spawn(move || of_thread.copy(reader, file));
        Ok(writer)
    }

    /// Copies until the last writer has closed the pipe.
    fn copy(&self, mut reader: PipeReader, mut file: File) {
        let mut piece = [0; ROOM];
        loop {
            let mut was_stopped = false;
            while self.is_stopped() {
                was_stopped = true;
                thread::sleep(Duration::from_millis(10));
            }
            let read = match reader.read(&mut piece) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if was_stopped && read + LONG_LINE > ROOM {
                self.0.full.fetch_add(1, Ordering::Relaxed);
            }
            if file.write_all(piece.get(..read).unwrap_or_default()).is_err() {
                return;
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Ordering::Relaxed)
    }
}
