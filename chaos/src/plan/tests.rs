use std::collections::BTreeSet;

use super::*;

#[test]
fn a_whole_run_has_every_kind_of_fault() {
    let length = WHOLE;
    let mut with_an_api_alone = 0;
    for seed in 0..200 {
        let plan = Plan::drawn(seed, length);
        let steps = &plan.steps;
        assert!(steps.iter().all(|step| step.at + step.lasts <= length && step.at >= WARM));
        assert!(steps.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let times = plan.times();
        assert!(Fault::drawn().iter().all(|kind| times.contains_key(kind)), "seed {seed}: {times:?}");
        let mut cut = steps.iter().filter(|step| step.fault.has_target()).map(|step| step.target);
        with_an_api_alone += usize::from(cut.any(|target| !target.has_workers()));
        assert_eq!(times.get(&Fault::LosePostgres), Some(&1), "once for longer than an event is tried");
        assert_eq!(times.get(&Fault::FailOverPostgres), Some(&1), "and once failed over");
        assert_eq!(times.get(&Fault::RestorePostgres), Some(&1), "and once restored to an earlier time");
        let given_up = |step: &&Step| step.fault == Fault::RefuseDevices && step.lasts >= OUTLASTS_RETRIES;
        assert_eq!(steps.iter().filter(given_up).count(), 1, "and once refused for as long");
    }
    assert!(with_an_api_alone > 180, "the APIs alone, in nearly all of them: {with_an_api_alone}");
}

#[test]
fn what_outlasts_the_retries_does() {
    let retries: Duration = worker_service::scheduler::retry_delays().sum();
    assert!(OUTLASTS_RETRIES >= retries + Duration::from_secs(5), "{retries:?}, and the tries themselves");
}

#[test]
fn a_longer_run_has_every_kind_more_often() {
    for seed in 0..20 {
        let plan = Plan::drawn(seed, 5 * WHOLE);
        let times = plan.times();
        assert!(Fault::drawn().iter().all(|kind| times.get(kind).is_some_and(|times| *times >= 5)), "{times:?}");
    }
}

#[test]
fn only_some_faults_are_left() {
    let whole = Plan::drawn(7, WHOLE);
    assert_eq!(whole.clone().only(&[]), whole);
    let redis = whole.clone().only(&[Fault::CutRedis]);
    assert!(
        redis.is_part && redis.cut_at_last.is_some() && redis.steps.iter().all(|step| step.fault == Fault::CutRedis)
    );
    assert_eq!(redis.times().get(&Fault::CutRedis), whole.times().get(&Fault::CutRedis));
    assert_eq!(whole.only(&[Fault::Poison, Fault::KillApi]).cut_at_last, None);
}

#[test]
fn the_plan_by_hand_has_each_kind_once() {
    let plan = Plan::by_hand();
    let times = plan.times();
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    let kinds: BTreeSet<_> = times.into_keys().collect();
    let all: BTreeSet<_> = Fault::all().filter(|fault| *fault != Fault::RestorePostgres).collect();
    assert_eq!(kinds, all);
    assert!(plan.steps.windows(2).all(|pair| pair[0].at <= pair[1].at));
}
