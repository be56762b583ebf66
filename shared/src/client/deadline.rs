//! Deadlines that go with a call: the called service knows how long its caller waits, and works no longer than that.

use std::time::Duration;

use tokio::time::Instant;

/// The header with the milliseconds in which the caller expects the answer: Envoy's name, which proxies know.
pub const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";
/// What the caller needs for its own answer.
const RESERVE: Duration = Duration::from_millis(50);
/// The least time for a call.
const LEAST: Duration = Duration::from_millis(1);

/// The value of [`EXPECTED`]: a number of milliseconds. A value that is none, and 0, say nothing.
pub fn expected(value: &[u8]) -> Option<Duration> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|millis| *millis > 0).map(Duration::from_millis)
}

/// When a call must be done that begins now, for a caller whose own answer is due at `deadline`, and that may take
/// `most`; `None` if there is no time left for it.
pub(super) fn due(deadline: Instant, now: Instant, most: Duration) -> Option<Instant> {
    let left = deadline.saturating_duration_since(now).checked_sub(RESERVE)?.min(most);
    (left >= LEAST).then(|| now + left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_expectation_is_digits() {
        assert_eq!(expected(b"250"), Some(Duration::from_millis(250)));
        assert_eq!(expected(b"0"), None, "a proxy may say that it waits for ever");
        for none in ["", "-1", "+1", "1.5", "1s", " 1", "99999999999999999999", "\u{661}"] {
            assert_eq!(expected(none.as_bytes()), None, "{none:?}");
        }
        assert_eq!(expected(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn a_call_ends_before_its_callers_deadline_and_takes_at_most_its_own_time(left in 0..60_000_u64, most in 1..30_000_u64) {
            let now = Instant::now();
            let deadline = now + Duration::from_millis(left);
            match due(deadline, now, Duration::from_millis(most)) {
                None => prop_assert!(left < 51),
                Some(due) => {
                    prop_assert!(due + RESERVE <= deadline && due > now);
                    prop_assert_eq!(due - now, Duration::from_millis(most.min(left - 50)));
                }
            }
        }

        #[test]
        fn no_call_begins_after_the_deadline(late in 0..60_000_u64) {
            let deadline = Instant::now();
            prop_assert_eq!(due(deadline, deadline + Duration::from_millis(late), RESERVE), None);
        }
    }
}
