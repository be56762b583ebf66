//! Runs work that could block forever, with a timeout.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Runs work that may block on a reader, such as the last line on standard error, and waits at most for `at_most`.
pub(crate) fn within(at_most: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = channel::<()>();
    // Nothing is sent: the wait ends when the thread drops the sender, or if it could not be started.
    let started = thread::Builder::new().spawn(move || {
        work();
        drop(done);
    });
    drop((started, is_done.recv_timeout(at_most)));
}

#[cfg(test)]
mod tests {
    use std::io::{Write as _, pipe};
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::*;

    #[test]
    fn last_words_wait_for_nobody() {
        let since = Instant::now();
        let (_reader, mut writer) = pipe().unwrap();
        within(Duration::from_millis(200), move || {
            loop {
                writer.write_all(&[0; 4_096]).unwrap();
            }
        });
        assert!((200..5_000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
        let said = Arc::new(Mutex::new(false));
        let of_thread = Arc::clone(&said);
        within(Duration::from_secs(60), move || *of_thread.lock().unwrap() = true);
        assert!(*said.lock().unwrap() && since.elapsed() < Duration::from_secs(30), "it ends as soon as they are said");
    }
}
