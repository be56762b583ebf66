use proptest::prelude::*;

use super::*;

#[test]
fn gaps_that_are_close_are_read_in_one_go() {
    assert_eq!(close(&[0..1, 3..4, 20..22, 30..31]), [0..4, 20..31]);
    assert_eq!(close(&[]), []);
}

/// A partly consumed log: the content of each offset, and how often it was read.
struct Log(Vec<(What, usize)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Lost,
    Marker,
    /// A marker that some walks miss.
    Unseen,
    Consumed,
    /// A consumed record that was removed since.
    Taken,
}

impl Log {
    fn offsets(&self, is: impl Fn(What) -> bool) -> Vec<i64> {
        (0..).zip(&self.0).filter(|(_, (what, _))| is(*what)).map(|(at, _)| at).collect()
    }

    /// Reads at most `budget` offsets.
    fn walk(&mut self, range: Range<i64>, budget: &mut usize) -> Walk {
        let mut walk = Walk::new(range.clone());
        for (offset, (what, looked)) in (0..).zip(&mut self.0).skip(usize::try_from(range.start).unwrap()) {
            if walk.is_done() || !walk.missing.is_empty() || *budget == 0 {
                return walk;
            }
            *looked += usize::from(*what == What::Unseen);
            if matches!(what, What::Lost | What::Taken) || (1..LOOKS).contains(looked) {
                continue;
            }
            *budget -= 1;
            walk.record(offset);
        }
        if *budget > 0 && walk.missing.is_empty() && !walk.is_done() {
            *budget -= 1;
            walk.position(range.end + 1);
        }
        walk
    }
}

fn each(ranges: &[Range<i64>]) -> Vec<i64> {
    ranges.iter().cloned().flatten().collect()
}

proptest! {
    /// This holds however little time there is.
    #[test]
    fn each_look_gets_on_and_gives_back_what_is_left_of_the_gaps(
        log in prop::collection::vec(
            prop::sample::select(vec![What::Lost, What::Marker, What::Unseen, What::Consumed, What::Taken]), 1..80
        ),
        budgets in prop::collection::vec((LOOKS..3 * LOOKS, any::<bool>()), 400),
    ) {
        let mut log = Log(log.into_iter().map(|what| (what, 0)).collect());
        let gap = log.offsets(|what| !matches!(what, What::Consumed | What::Taken));
        let gaps: Vec<_> = gap.iter().map(|at| *at..at + 1).collect();
        let (mut left, mut missing) = (gaps, Vec::new());
        let mut budgets = budgets.into_iter();
        while !left.is_empty() {
            let (mut budget, breaks) = budgets.next().unwrap();
            let (found, trouble) = explain(&left, |range| {
                anyhow::ensure!(budget > 0 || !breaks, "Kafka is away");
                Ok(log.walk(range, &mut budget))
            });
            prop_assert!(trouble.is_none() || breaks);
            prop_assert!(each(&found.left).len() < each(&left).len(), "{left:?} {found:?}");
            let read = each(&left).len() - each(&found.left).len();
            prop_assert_eq!(each(&found.left), &each(&left)[read..], "the last of them");
            missing.extend(each(&found.missing));
            left = found.left;
        }
        prop_assert_eq!(missing, log.offsets(|what| what == What::Lost), "once each, and of the gaps alone");
    }

    #[test]
    fn ranges_are_sets(
        ranges in prop::collection::vec((0..60i64, 1..6i64), 0..12),
        others in prop::collection::vec((0..60i64, 1..6i64), 0..12),
        offset in 0..70i64,
    ) {
        let of = |ranges: Vec<(i64, i64)>| {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, size)| start..start + size).collect();
            let set: std::collections::BTreeSet<_> = each(&ranges).into_iter().collect();
            (in_order(ranges), set)
        };
        let ((ranges, set), (others, other_set)) = (of(ranges), of(others));
        prop_assert_eq!(each(&ranges), set.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(each(&common(&ranges, &others)), set.intersection(&other_set).copied().collect::<Vec<_>>());
        prop_assert_eq!(each(&without(&ranges, &others)), set.difference(&other_set).copied().collect::<Vec<_>>());
        prop_assert_eq!(each(&behind(&ranges, offset)), set.range(offset..).copied().collect::<Vec<_>>());
    }

    /// A log of records, markers and missing offsets.
    #[test]
    fn what_holds_nothing_is_missing_and_nothing_else(
        log in prop::collection::vec(0..3u8, 1..60), before in 0..5i64, behind in 1..5i64
    ) {
        let end = before + i64::try_from(log.len()).unwrap();
        let mut walk = Walk::new(before..end);
        for (offset, what) in (before..).zip(&log) {
            match what {
                0 => {}
                1 => {
                    walk.record(offset);
                    // The position is read in between, too.
                    walk.position(offset + 1);
                }
                _ => walk.position(offset + 1),
            }
        }
        walk.record(end + behind - 1);
        prop_assert!(walk.is_done());
        let missing: Vec<_> = walk.missing.into_iter().flatten().collect();
        let expected: Vec<_> = (before..).zip(&log).filter(|(_, what)| **what == 0).map(|(at, _)| at).collect();
        prop_assert_eq!(missing, expected);
    }
}
