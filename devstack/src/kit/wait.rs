use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::process::asked;

/// The timeout of every wait: longer than anything here takes, even on a busy machine.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(90);
/// The interval at which a condition is checked.
const STEP: Duration = Duration::from_millis(20);

pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    found(what, async || if holds().await { Ok(()) } else { Err("no") }).await;
}

/// Waits for a value. Until then `seek` returns what it found instead; the last of these is in the panic message
/// after the timeout.
pub async fn found<T, E: Debug>(what: &str, seek: impl AsyncFn() -> Result<T, E>) -> T {
    let begin = Instant::now();
    loop {
        match seek().await {
            Ok(found) => {
                println!("{:4.1} s until {what}", begin.elapsed().as_secs_f32());
                return found;
            }
            Err(instead) => assert!(begin.elapsed() < TEST_TIMEOUT, "not within {TEST_TIMEOUT:?}: {what}: {instead:?}"),
        }
        tokio::time::sleep(STEP).await;
    }
}

/// The same as [`until`], outside of an async runtime.
pub fn until_blocking(what: &str, holds: impl Fn() -> bool) {
    let held = asked(TEST_TIMEOUT, STEP, || Ok(holds().then_some(()))).unwrap();
    assert!(held.is_some(), "not within {TEST_TIMEOUT:?}: {what}");
}
