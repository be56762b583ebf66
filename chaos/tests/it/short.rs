//! A short run with the hand-written plan: each kind of fault once, except the longest one, and all ten promises.

use std::path::Path;
use std::process::Command;

use chaos::plan::Plan;

#[tokio::test(flavor = "multi_thread")]
async fn half_a_minute_of_each_kind_of_fault_breaks_no_promise() {
    let plan = Plan::by_hand();
    let out = devstack::target_dir().join("chaos/by-hand");
    let report = chaos::run::run(&plan, &out).await.unwrap();
    println!("{}", report.table(&plan));
    report.write(&out.join("report.json")).unwrap();
    a_history_is_cut_down_as_the_docs_say(&chaos::run::history_file(&out, plan.seed));
    assert_eq!(report.broken, []);
    assert_eq!(report.ended, [""; 0], "services that ended by themselves");
    assert_eq!(report.panics, [""; 0]);
    assert_eq!(report.fell_short, [""; 0], "what makes the run void");
}

/// Runs the commands of docs/chaos.md on another history: one device's part of a valid history is valid.
fn a_history_is_cut_down_as_the_docs_say(history: &Path) {
    let docs = include_str!("../../../docs/chaos.md");
    let (_, recipe) = docs.split_once("```sh\n").unwrap();
    let (recipe, _) = recipe.split_once("```").unwrap();
    assert!(recipe.contains("history=target/chaos/history-9001.jsonl.gz\n") && recipe.contains("target/debug/chaos "));
    let recipe = recipe
        .replace("target/chaos/history-9001.jsonl.gz", history.to_str().unwrap())
        .replace("target/debug/chaos", env!("CARGO_BIN_EXE_chaos"));
    let folder = tempfile::tempdir().unwrap();
    let pasted = Command::new("bash").args(["-c", &recipe]).current_dir(&folder).output().unwrap();
    let said = String::from_utf8(pasted.stdout).unwrap();
    assert!(pasted.status.success() && said.ends_with("broken 0 times\n"), "{said}");
    assert!(!said.starts_with("cut.jsonl: 0 reads"), "{said}");
}
