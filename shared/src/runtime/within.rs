//! What could wait for ever, and may not.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Does what may wait for a reader who is not there, such as the last word on standard error, and waits so long at
/// most.
pub(crate) fn within(at_most: Duration, work: impl FnOnce() + Send + 'static) {
    let done = Arc::new((Mutex::new(false), Condvar::new()));
    let of_thread = Arc::clone(&done);
    let started = thread::Builder::new().spawn(move || {
        work();
        *of_thread.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        of_thread.1.notify_all();
    });
    if started.is_ok() {
        let is_done = done.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(done.1.wait_timeout_while(is_done, at_most, |is_done| !*is_done));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Write as _, pipe};
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
