//! How many calls are tried again. A service that fails every call gets a tenth more of them, not twice as many.

use parking_lot::Mutex;

/// In tenths: what a retry costs, and what each call pays in.
const RETRY: u32 = 10;
const CALL: u32 = 1;
/// The most that is saved, in retries. A budget begins with it, so that the first calls of a process may be repeated.
const MOST: u32 = 10;

/// A budget for retries: a token bucket that calls fill.
#[derive(Debug)]
pub(super) struct Budget(Mutex<u32>);

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(MOST * RETRY))
    }
}

impl Budget {
    /// A call is made.
    pub(super) fn pay_in(&self) {
        let mut tenths = self.0.lock();
        *tenths = (*tenths + CALL).min(MOST * RETRY);
    }

    /// Takes a retry out, if there is one.
    pub(super) fn take(&self) -> bool {
        let mut tenths = self.0.lock();
        let left = tenths.checked_sub(RETRY);
        if let Some(left) = left {
            *tenths = left;
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_service_that_fails_every_call_gets_ten_retries_and_then_a_tenth() {
        let budget = Budget::default();
        let retries = |calls: usize| {
            let taken = (0..calls).filter(|_| {
                budget.pay_in();
                budget.take()
            });
            taken.count()
        };
        assert_eq!(retries(10), 10);
        retries(1_000);
        assert_eq!(retries(1_000), 100);
    }

    proptest! {
        /// Whatever the order of calls and failures is: in any span there are at most ten retries, and one for ten
        /// calls of it; and a retry is refused only if so many were taken.
        #[test]
        fn in_any_span_retries_are_bounded(fails in proptest::collection::vec(any::<bool>(), 1..400)) {
            let budget = Budget::default();
            // How many retries were taken before each call.
            let mut taken = vec![0];
            for fails in &fails {
                budget.pay_in();
                let (asked, last) = (*fails, *taken.last().unwrap());
                let is_taken = asked && budget.take();
                prop_assert!(!asked || is_taken || last >= 10, "one is refused early");
                taken.push(last + usize::from(is_taken));
            }
            for from in 0..taken.len() {
                for to in from..taken.len() {
                    prop_assert!(10 * (taken[to] - taken[from]) <= 100 + (to - from), "{from} to {to}");
                }
            }
        }
    }
}
