use std::time::Duration;

use super::*;

/// A run of this plan in which every step happened and every count is the minimum.
fn honest(plan: &Plan) -> (Vec<Happened>, Figures) {
    let happened = plan.steps.iter().map(|step| Happened {
        step: *step,
        began: step.at,
        ended: step.at + step.lasts,
        missed: None,
    });
    (happened.collect(), figures(plan))
}

fn plans() -> [Plan; 3] {
    [Plan::by_hand(), Plan::drawn(7, WHOLE), Plan::drawn(7, WHOLE).only(&[Fault::CutRedis])]
}

#[test]
fn a_run_that_did_it_all_is_not_void() {
    for plan in plans() {
        let (happened, counted) = honest(&plan);
        assert_eq!(fell_short(&plan, &happened, &counted), [""; 0]);
    }
}

#[test]
fn a_kind_of_fault_that_did_not_happen_makes_it_void_and_is_named() {
    for plan in plans() {
        for (kind, least) in faults(&plan) {
            let (mut happened, counted) = honest(&plan);
            let of_kind = happened.iter_mut().filter(|happened| happened.step.fault == kind);
            of_kind.for_each(|happened| happened.missed = Some("of this".into()));
            let short = fell_short(&plan, &happened, &counted);
            let expected = format!("{}: 0 times of at least {least} (of this", kind.name());
            assert!(matches!(&*short, [short] if short.starts_with(&expected)), "{expected}…: {short:?}");
            happened.retain(|happened| happened.step.fault != kind);
            assert_eq!(fell_short(&plan, &happened, &counted).len(), 1, "of which nothing is known");
        }
    }
}

#[test]
fn half_of_the_faults_of_a_kind_have_to_happen() {
    let plan = Plan::drawn(7, 3 * WHOLE);
    let (mut happened, counted) = honest(&plan);
    let kind = Fault::RefuseDevices;
    let (times, least) = (plan.times()[&kind], faults(&plan)[&kind]);
    assert!(least >= 3 && least < times, "{least} of {times}");
    let of_kind = happened.iter_mut().filter(|happened| happened.step.fault == kind);
    of_kind.take(times - least).for_each(|happened| happened.missed = Some("Kafka was away".into()));
    assert_eq!(fell_short(&plan, &happened, &counted), [""; 0]);
}

#[test]
fn a_load_that_died_makes_it_void() {
    for plan in plans() {
        let (happened, whole) = honest(&plan);
        let none = fell_short(&plan, &happened, &Figures::default());
        for name in ["events accepted", "events accepted, after all faults", "reads, judged strictly", "commands done"]
        {
            assert!(none.iter().any(|short| short.starts_with(&format!("{name}: 0 of at least "))), "{none:?}");
        }
        let half = Figures { accepted_at_last: 0, ads_at_last: 0, commands_at_last: 0, reads_at_last: 0, ..whole };
        assert_eq!(fell_short(&plan, &happened, &half).len(), 4, "one that died on the way, too");
    }
}

#[test]
fn each_kind_of_count_is_demanded() {
    let plan = Plan::by_hand();
    let (happened, _) = honest(&plan);
    let short = fell_short(&plan, &happened, &Figures::default());
    for name in [
        "events accepted",
        "posts of batches, answered 207",
        "posts that failed",
        "refusals",
        "dead letters",
        "reads",
        "cached bodies at last",
        "commands done, of many at once",
        "commands done, without an answer",
        "records of commands, found by a relay",
        "files read, revisions",
        "validations, findings",
    ] {
        assert!(short.iter().any(|short| short.starts_with(&format!("{name}: 0 of at least "))), "{name}: {short:?}");
    }
    let given_up = fell_short(&Plan::drawn(7, WHOLE), &[], &Figures::default());
    assert!(given_up.contains(&"dead letters, of refused devices: 0 of at least 1".to_owned()), "{given_up:?}");
}

#[test]
fn the_least_is_in_proportion_to_the_length() {
    let [one, five] = [WHOLE, 5 * WHOLE].map(|length| figures(&Plan::drawn(7, length)));
    assert_eq!((five.accepted, five.strict_reads), (5 * one.accepted, 5 * one.strict_reads));
    let half = figures(&Plan::drawn(7, WHOLE / 2));
    assert_eq!(half.accepted, one.accepted / 2);
    let short = figures(&Plan::drawn(7, Duration::from_secs(1)));
    assert!(short.accepted >= 1 && short.partial_batches >= 1, "and never nothing");
    let times = |length| faults(&Plan { steps: Vec::new(), ..Plan::drawn(7, length) });
    assert_eq!(times(5 * WHOLE)[&Fault::KillKafka], 5);
    assert!(times(WHOLE / 2).is_empty());
}
