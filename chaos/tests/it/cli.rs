//! Tests of the command line that need no servers.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

const SEED_9001: &str = include_str!("../../src/checker/tests/seed-9001.jsonl");

fn chaos(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    for setting in ["CHAOS_SEED", "CHAOS_SECONDS", "CHAOS_OUT"] {
        command.env_remove(setting);
    }
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn check(path: &Path) -> Output {
    chaos(&["check", path.to_str().unwrap()])
}

/// A recorded seed is useful only if it always gives the same schedule, also with another version of the
/// random number generator.
#[test]
fn a_seed_is_the_same_schedule_as_it_was() {
    let plan = chaos(&["plan", "--seed", "9001", "--seconds", "120"]);
    assert!(plan.status.success(), "{plan:?}");
    assert_eq!(text(&plan.stdout), include_str!("../../src/plan/seed-9001.txt"));
    let shorter = chaos(&["plan", "--seed", "9001", "--seconds", "60"]);
    assert_ne!(text(&plan.stdout), text(&shorter.stdout));
}

#[test]
fn a_fault_that_the_schedule_does_not_have_is_an_error() {
    // About half of the schedules have it.
    let mut met = [false; 2];
    for seed in (1..=20).map(|seed| seed.to_string()) {
        let has = text(&chaos(&["plan", "--seed", &seed]).stdout).contains("add-partitions");
        let plan = chaos(&["plan", "--seed", &seed, "--only", "add-partitions"]);
        assert_eq!((plan.status.success(), text(&plan.stdout).lines().count()), (has, usize::from(has)), "{plan:?}");
        let why = format!("the schedule of seed {seed} has no add-partitions");
        assert!(has || text(&plan.stderr).contains(&why), "{plan:?}");
        met[usize::from(has)] = true;
    }
    assert_eq!(met, [true; 2]);
    let by_hand = chaos(&["plan", "--by-hand", "--only", "add-partitions"]);
    assert_eq!(text(&by_hand.stdout).lines().count(), 1, "{by_hand:?}");
}

#[test]
fn a_saved_history_is_judged_again() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole.jsonl"), folder.path().join("broken.jsonl"));
    std::fs::write(&whole, SEED_9001).unwrap();
    let held = check(&whole);
    assert!(held.status.success(), "{held:?}");
    // The history without the Redis outages.
    let lines: Vec<_> = SEED_9001.lines().filter(|line| !line.starts_with(r#"{"redis_away""#)).collect();
    std::fs::write(&broken, lines.join("\n")).unwrap();
    let found = check(&broken);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert!(text(&found.stdout).contains("promise 5 broken, device-6: a read at "), "{found:?}");
}

#[test]
fn what_is_no_history_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = check(&folder.path().join("nowhere.jsonl"));
    assert!(!nowhere.status.success());
    assert!(text(&nowhere.stderr).contains("cannot open ") && text(&nowhere.stderr).contains("nowhere.jsonl"));
    let other = folder.path().join("report.json");
    std::fs::write(&other, "{\"format\":1}\n{\"seed\":1}\n").unwrap();
    let refused = check(&other);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("line 2 is no fact of a history"), "{refused:?}");
    let missing = chaos(&["check"]);
    assert!(!missing.status.success() && text(&missing.stderr).contains("<FILES>"), "{missing:?}");
}

/// A name that is misspelt at either place would be a mistake that nobody makes.
#[test]
fn each_mistake_of_the_list_is_made_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = std::fs::read_to_string(root.join("chaos/sabotages")).unwrap();
    let (_, list) = script.split_once("mistakes=(\n").unwrap();
    let (list, _) = list.split_once("\n)").unwrap();
    let listed: BTreeSet<_> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    let mut sources = String::new();
    let mut folders: Vec<_> =
        ["shared", "api-service", "worker-service"].map(|name| root.join(name).join("src")).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let made = sources.split("makes(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    assert_eq!(made.collect::<BTreeSet<_>>(), listed);
    assert!(listed.len() >= 16);
}
