use proptest::prelude::*;

use super::*;

#[test]
fn a_fence_is_passed_once_every_partition_is_committed_up_to_it() {
    use FenceState::{Passed, Void, Waiting};
    let fence = Offsets::of(&[(Some(3), 5), (None, 0)]).fence();
    for (now, expected) in [
        (&[(Some(3), 5), (None, 0)][..], Waiting),
        (&[(Some(4), 9), (None, 0)], Waiting),
        (&[(Some(5), 5), (None, 0)], Passed),
        // What came later does not matter.
        (&[(Some(7), 9), (None, 4)], Passed),
        (&[(Some(7), 9), (Some(1), 4)], Passed),
        // Kafka has lost the commit, or the group was renamed.
        (&[(None, 9), (None, 0)], Waiting),
        // The group was rewound.
        (&[(Some(0), 9), (None, 0)], Waiting),
        // A commit of an earlier log, which nobody has read since.
        (&[(Some(10), 9), (None, 0)], Waiting),
        // The topic was recreated.
        (&[(Some(5), 4), (None, 0)], Void),
        (&[(None, 0), (None, 0)], Void),
        (&[(Some(5), 5)], Void),
        // The new partition may have had records when the fence was taken.
        (&[(Some(5), 5), (None, 0), (None, 0)], Void),
    ] {
        assert_eq!(fence.state(&Offsets::of(now)), expected, "{now:?}");
    }
}

#[test]
fn a_partition_without_records_needs_no_commit() {
    let now = Offsets::of(&[(None, 0), (None, 0)]);
    assert_eq!(now.fence().state(&now), FenceState::Passed);
    let now = Offsets::of(&[(None, 0), (None, 1)]);
    assert_eq!(now.fence().state(&now), FenceState::Waiting);
}

/// What happens to a topic and its group.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Kafka acknowledges a record.
    Append(usize),
    /// The group applies the next record.
    Apply(usize),
    /// It commits what it has applied.
    Commit(usize),
    /// The group's consumer continues at its commit, as after a crash.
    Restart(usize),
    /// The group was rewound.
    Rewind(usize),
    AddPartition,
    /// The topic is deleted and created again. Kafka deletes the group's commits with it; or they are the new log's
    /// first commits, from a consumer that has not noticed yet.
    Recreate {
        late_commits: bool,
    },
    TakeFence,
}

fn step() -> impl Strategy<Value = Step> {
    let of = |step: fn(usize) -> Step| (0..3_usize).prop_map(step);
    prop_oneof![
        6 => of(Step::Append),
        8 => of(Step::Apply),
        5 => of(Step::Commit),
        1 => of(Step::Restart),
        1 => of(Step::Rewind),
        1 => Just(Step::AddPartition),
        1 => any::<bool>().prop_map(|late_commits| Step::Recreate { late_commits }),
        4 => Just(Step::TakeFence),
    ]
}

/// A partition: how often each of its records was applied, and the group's place.
#[derive(Debug, Clone, Default)]
struct Log {
    applied: Vec<u32>,
    position: usize,
    committed: Option<usize>,
}

#[derive(Debug, Clone)]
struct Model {
    logs: Vec<Log>,
    /// Counts how often the topic was created.
    created: u32,
}

impl Model {
    fn run(&mut self, step: Step) {
        let count = self.logs.len();
        let log = |at: usize| at % count;
        match step {
            Step::Append(at) => self.logs[log(at)].applied.push(0),
            Step::Apply(at) => {
                let log = &mut self.logs[log(at)];
                if let Some(record) = log.applied.get_mut(log.position) {
                    *record += 1;
                    log.position += 1;
                }
            }
            Step::Commit(at) => {
                let log = &mut self.logs[log(at)];
                if log.position > 0 {
                    log.committed = Some(log.position);
                }
            }
            Step::Restart(at) => {
                let log = &mut self.logs[log(at)];
                log.position = log.committed.unwrap_or(0);
            }
            Step::Rewind(at) => {
                let log = &mut self.logs[log(at)];
                log.position /= 2;
                log.committed = Some(log.position);
            }
            Step::AddPartition => self.logs.push(Log::default()),
            Step::Recreate { late_commits } => {
                self.created += 1;
                for log in &mut self.logs {
                    let committed = log.committed.filter(|committed| late_commits && *committed > 0);
                    *log = Log { committed, ..Log::default() };
                }
            }
            Step::TakeFence => {}
        }
    }

    fn offsets(&self) -> Offsets {
        let offset = |offset: usize| i64::try_from(offset).unwrap();
        let of = |log: &Log| (log.committed.map(offset), offset(log.applied.len()));
        Offsets::of(&self.logs.iter().map(of).collect::<Vec<_>>())
    }

    /// Whether a consumer that restarts would skip records of this log: then no fence can help.
    fn skips_records(&self) -> bool {
        self.logs.iter().any(|log| {
            log.committed.is_some_and(|committed| {
                committed <= log.applied.len() && log.applied.iter().take(committed).any(|applied| *applied == 0)
            })
        })
    }
}

proptest! {
    #[test]
    fn no_record_before_a_passed_fence_is_unapplied(steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model { logs: vec![Log::default(); 2], created: 0 };
        // Each fence with the records that it includes, as a partition and an offset of a log.
        let mut fences: Vec<(OffsetFence, u32, Vec<usize>)> = Vec::new();
        for step in steps {
            model.run(step);
            if model.skips_records() {
                return Ok(());
            }
            let now = model.offsets();
            if matches!(step, Step::TakeFence) {
                let ends = model.logs.iter().map(|log| log.applied.len()).collect();
                fences.push((now.fence(), model.created, ends));
            }
            fences.retain(|(fence, ..)| fence.state(&now) != FenceState::Void);
            for (fence, created, ends) in &fences {
                if fence.state(&now) == FenceState::Passed && *created == model.created {
                    for (log, end) in model.logs.iter().zip(ends) {
                        prop_assert!(log.applied.iter().take(*end).all(|applied| *applied > 0), "{:?}", model);
                    }
                }
            }
        }
        // When all is applied and committed, a new fence is passed, and so is every fence that is not void.
        let partitions = model.logs.len();
        for log in 0..partitions {
            while model.logs[log].position < model.logs[log].applied.len() {
                model.run(Step::Apply(log));
            }
            model.logs[log].committed = (model.logs[log].position > 0).then_some(model.logs[log].position);
        }
        let now = model.offsets();
        prop_assert_eq!(now.fence().state(&now), FenceState::Passed);
        for (fence, ..) in &fences {
            prop_assert_ne!(fence.state(&now), FenceState::Waiting);
        }
    }
}
