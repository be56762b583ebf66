//! How far a partition is done, though its records finish out of order.

use std::collections::BTreeSet;

/// Remembers what is not finished yet, and so takes memory for that alone, however far the rest
/// of the partition has gone.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    unfinished: BTreeSet<i64>,
    /// Behind the last record that came in.
    end: Option<i64>,
}

impl Watermark {
    pub(super) fn begin(&mut self, offset: i64) {
        self.unfinished.insert(offset);
        self.end = self.end.max(Some(offset + 1));
    }

    pub(super) fn finish(&mut self, offset: i64) {
        self.unfinished.remove(&offset);
    }

    /// Whether nothing is unfinished.
    pub(super) fn is_whole(&self) -> bool {
        self.unfinished.is_empty()
    }

    pub(super) fn get(&self) -> Option<i64> {
        self.unfinished.first().copied().or(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_first_unfinished_offset_or_the_end(
            steps in prop::collection::vec(1..4i64, 1..40), order in any::<u64>()
        ) {
            let offsets: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
            let mut watermark = Watermark::default();
            prop_assert_eq!(watermark.get(), None);
            for &offset in &offsets {
                watermark.begin(offset);
            }
            let mut left = offsets.clone();
            let mut random = fastrand::Rng::with_seed(order);
            while !left.is_empty() {
                prop_assert_eq!(watermark.get(), left.iter().min().copied());
                let offset = left.swap_remove(random.usize(..left.len()));
                watermark.finish(offset);
            }
            prop_assert_eq!(watermark.get(), offsets.last().map(|last| last + 1));
        }
    }
}
