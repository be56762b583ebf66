//! Follows a log file and prints it to the terminal.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

/// Follows a file; dropping it prints the rest of the file and stops.
pub(crate) struct Tail {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    /// Prints each line of the file after `prefix`, beginning with the existing lines.
    pub(crate) fn follow(file: &Path, prefix: &'static str) -> Tail {
        let ended = Arc::new(AtomicBool::new(false));
        let (file, flag) = (file.to_path_buf(), Arc::clone(&ended));
        Tail { ended, thread: Some(spawn(move || run(file, prefix, &flag))) }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(path: PathBuf, prefix: &str, ended: &AtomicBool) {
    let mut file: Option<File> = None;
    let mut pending: Vec<u8> = vec![];
    loop {
        let last = ended.load(Ordering::Relaxed);
        if file.is_none() {
            file = File::open(&path).ok();
        }
        if let Some(file) = &mut file {
            let _ = file.read_to_end(&mut pending);
        }
        let whole = pending.iter().rposition(|byte| *byte == b'\n');
        let rest = pending.split_off(whole.map_or(0, |at| at + 1));
        for line in String::from_utf8_lossy(&pending).lines() {
            println!("{prefix} | {line}");
        }
        pending = rest;
        if last {
            return;
        }
        sleep(Duration::from_millis(50));
    }
}
