use std::sync::Mutex;

use proptest::prelude::*;
use tokio::sync::watch;

use super::*;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A single gap.
fn alone(gap: Range<i64>) -> Vec<Range<i64>> {
    std::iter::once(gap).collect()
}

/// The gaps that a check has left.
fn left(late: Range<i64>, seen: Range<i64>) -> Unexplained {
    Unexplained { fresh: Vec::new(), late: alone(late), seen: alone(seen) }
}

#[test]
fn however_many_gaps_there_are_the_broker_is_asked_once_a_second() {
    let mut gaps = Gaps::new("g".into(), 0);
    assert_eq!(gaps.take_due(millis(0)), None, "nothing is missing");
    let mut looks = Vec::new();
    for n in 0..2_500 {
        let (now, at) = (u64::try_from(n).unwrap(), 3 * n);
        gaps.met(at, at + 1);
        looks.extend(gaps.take_due(millis(now)));
    }
    let sizes: Vec<_> = looks.iter().map(|look| look.fresh.len()).collect();
    assert_eq!(sizes, [1, 1_000, 1_000], "and each gap is looked into once");
    gaps.put_back(&looks.pop().unwrap(), None);
    let Unexplained { fresh, late, seen } = gaps.take_due(millis(3_000)).unwrap();
    assert_eq!((late.len(), late.first().cloned()), (1_000, Some(3_003..3_004)), "in their order");
    assert_eq!((fresh.len(), seen.len()), (499, 0));
}

#[test]
fn gaps_are_bounded() {
    let mut gaps = Gaps::new("g".into(), 0);
    let most = i64::try_from(MOST_GAPS).unwrap();
    for n in 0..2 * most {
        gaps.met(2 * n, 2 * n + 1);
    }
    let is_bounded = |gaps: &[Range<i64>], last: i64| {
        assert!((MOST_GAPS / 2..=MOST_GAPS).contains(&gaps.len()), "{}", gaps.len());
        assert_eq!(gaps.last(), Some(&(last..last + 1)), "the newest are kept");
        assert!(gaps.iter().all(|gap| gap.end == gap.start + 1), "and none holds what was a record");
    };
    is_bounded(&gaps.met.fresh, 4 * most - 2);
    // The same while the broker does not answer.
    for n in 2 * most..3 * most {
        let due = gaps.take_due(Duration::from_secs(u64::try_from(n).unwrap())).unwrap();
        gaps.met(2 * n, 2 * n + 1);
        gaps.put_back(&due, None);
        if n > 2 * most + 10 {
            break;
        }
    }
    is_bounded(&gaps.met.late, 4 * most + 20);
}

/// After a topic was recreated, or a runner restarted.
#[test]
fn gaps_that_come_in_no_order_are_looked_into_in_order_and_once() {
    let mut gaps = Gaps::new("g".into(), 0);
    gaps.met(100, 105);
    gaps.met(3, 4);
    gaps.met(102, 107);
    let due = gaps.take_due(millis(0)).unwrap();
    assert_eq!(due, Unexplained { fresh: vec![3..4, 100..107], ..Default::default() });
    gaps.met(101, 102);
    gaps.met(5, 6);
    gaps.put_back(&due, Some(left(100..104, 103..107)));
    let due = gaps.take_due(millis(1_000)).unwrap();
    assert_eq!(due.all().into_iter().flatten().collect::<Vec<_>>(), [5, 100, 101, 102, 103, 104, 105, 106]);
    let expected = Unexplained { fresh: vec![5..6, 101..102], late: vec![100..101, 102..104], seen: alone(104..107) };
    assert_eq!(due, expected);
}

/// A broker that answers once the test allows it, with the beginning of the log.
fn broker<'t>(
    lets: &'t watch::Receiver<bool>,
    low: i64,
    told: &'t Arc<Mutex<Vec<Loss>>>,
) -> impl Fn(Arc<Unexplained>) -> JoinHandle<Answer> + 't {
    move |due| {
        let (mut lets, told) = (lets.clone(), Arc::clone(told));
        tokio::spawn(async move {
            lets.wait_for(|lets| *lets).await.unwrap();
            told.lock().unwrap().push(lost(&due, low));
            Some(Unexplained::default())
        })
    }
}

#[tokio::test]
async fn what_was_met_just_before_the_end_is_told_before_the_end() {
    let (told, (lets, answers)) = (Arc::default(), watch::channel(false));
    let ask = broker(&answers, 14, &told);
    let mut gaps = Gaps::new("g".into(), 0);
    // A check is under way, and it is too early for the next one.
    gaps.met(3, 4);
    gaps.look(millis(0), &ask).await;
    gaps.met(10, 15);
    gaps.look(millis(1), &ask).await;
    assert!(told.lock().unwrap().is_empty());
    let answering = async {
        tokio::task::yield_now().await;
        lets.send_replace(true);
    };
    tokio::join!(gaps.look_last(Duration::from_secs(60), &ask), answering);
    let told = std::mem::take(&mut *told.lock().unwrap());
    let passed = Loss { certain: None, possible: Some((3, 1)) };
    assert_eq!(told, [passed, Loss { certain: Some((10, 4)), possible: None }]);
    assert_eq!(gaps.met, Unexplained::default(), "and nothing is left");
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_broker_that_does_not_answer() {
    let (told, (_lets, answers)) = (Arc::default(), watch::channel(false));
    let ask = broker(&answers, 0, &told);
    let mut gaps = Gaps::new("g".into(), 0);
    gaps.met(3, 4);
    gaps.look(millis(0), &ask).await;
    gaps.met(10, 15);
    // Nothing is forgotten if the runner is dropped meanwhile.
    assert!(gaps.look_last(Duration::from_secs(60), &ask).now_or_never().is_none());
    gaps.look_last(millis(20), &ask).await;
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(gaps.met.all(), [3..4, 10..15], "these are told as what nobody has looked into");
    assert!(gaps.look_last(Duration::from_secs(60), &ask).now_or_never().is_none());
    gaps.give_up();
    assert_eq!(gaps.met.all(), [3..4, 10..15]);
}

#[tokio::test]
async fn what_there_was_no_time_for_is_looked_into_again_and_nothing_else() {
    let mut gaps = Gaps::new("g".into(), 0);
    gaps.met(3, 4);
    gaps.met(10, 15);
    gaps.met(20, 21);
    gaps.look(millis(0), |_| tokio::spawn(async { Some(left(20..21, 12..15)) })).await;
    gaps.finish(tokio::time::Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(gaps.met, left(20..21, 12..15));
}

#[test]
fn what_the_log_still_has_is_read() {
    assert_eq!(readable(&[3..4, 10..15, 20..21], 12, 21), (vec![12..15, 20..21], vec![]));
    assert_eq!(readable(&[3..4, 10..15, 20..21, 30..31], 0, 20), (vec![3..4, 10..15], vec![20..21, 30..31]));
    assert_eq!(readable(&[3..4, 10..15], 15, 15), (vec![], vec![]));
}

#[test]
fn where_the_log_begins_behind_a_gap_that_was_looked_into_late_a_loss_is_told_as_possible() {
    let fresh = |gaps: &[Range<i64>]| Unexplained { fresh: gaps.to_vec(), ..Default::default() };
    let late = |gaps: &[Range<i64>]| Unexplained { late: gaps.to_vec(), ..Default::default() };
    let one = || fresh(&alone(10..20));
    let certain = |from, lost| Loss { certain: Some((from, lost)), possible: None };
    assert_eq!(lost(&one(), 20), certain(10, 10));
    assert_eq!(lost(&one(), 12), certain(10, 2));
    assert_eq!(lost(&one(), 10), Loss::default(), "it was a marker, or was aborted");
    // The broker did not answer while retention deleted the beginning of its log.
    let possible = |from, at_most| Loss { certain: None, possible: Some((from, at_most)) };
    assert_eq!(lost(&one(), 21), possible(10, 10));
    assert_eq!(lost(&late(&[10..20, 25..26, 40..50]), 30), possible(10, 11));
    assert_eq!(lost(&late(&[10..20, 25..26, 40..50]), 45), possible(10, 16), "in one that is not new");
    let both = Loss { certain: Some((40, 5)), possible: Some((10, 10)) };
    let met = Unexplained { fresh: vec![25..26, 40..50], ..late(&[10..20, 60..61]) };
    assert_eq!(lost(&met, 45), both, "the second was met just now");
}

proptest! {
    /// A log with gaps of markers. The broker then deletes its beginning, including records that were not consumed.
    #[test]
    fn what_is_lost_is_what_was_dropped_unread(
        read in prop::collection::vec((1..4i64, 1..4i64), 0..20), dropped in 0..50i64, aborted in 0..5i64
    ) {
        // Records and markers alternate: no loss.
        let (mut at, mut gaps) = (0, Vec::new());
        for (records, markers) in read {
            let expected = at + records;
            at = expected + markers;
            gaps.push(expected..at);
        }
        let markers_alone = gaps.clone();
        // The next record is after the log's new beginning, because the first records there were aborted.
        let low = at + 1 + dropped;
        gaps.push(at + 1..low + aborted);
        let certain = (dropped > 0).then_some((at + 1, dropped.unsigned_abs()));
        let fresh = |gaps| Unexplained { fresh: gaps, ..Default::default() };
        if dropped > 0 {
            prop_assert_eq!(lost(&fresh(gaps), low), Loss { certain, possible: None });
        }
        for low in [0, 1] {
            prop_assert_eq!(lost(&fresh(markers_alone.clone()), low), Loss::default(), "it begins where it began");
        }
    }

    /// A log of records and gaps, some of which were read before the broker deleted the log's beginning.
    #[test]
    fn what_was_consumed_is_never_told_as_lost(
        gaps in prop::collection::vec((1..5i64, 1..4i64, 0..2usize), 0..30), low in 0..200i64
    ) {
        let (mut at, mut met) = (0, Unexplained::default());
        for (records, size, kind) in gaps {
            let gap = at + records..at + records + size;
            at = gap.end;
            [&mut met.late, &mut met.seen][kind].push(gap);
        }
        let before = met.all().into_iter().flatten().filter(|offset| *offset < low).collect::<Vec<_>>();
        let expected = before.first().map(|first| (*first, u64::try_from(before.len()).unwrap()));
        prop_assert_eq!(lost(&met.sorted(), low), Loss { certain: None, possible: expected });
    }
}
