//! A short run, written by hand: each kind of fault once, and five promises.

use chaos::plan::Plan;

#[tokio::test(flavor = "multi_thread")]
async fn half_a_minute_of_each_kind_of_fault_breaks_no_promise() {
    let plan = Plan::by_hand();
    let out = devstack::target_dir().join("chaos/by-hand");
    let report = chaos::run::run(&plan, &out).await.unwrap();
    println!("{}", report.table(&plan));
    report.write(&out.join("report.json")).unwrap();
    assert_eq!(report.broken, []);
    assert_eq!(report.ended, [""; 0], "services that ended by themselves");
    assert_eq!(report.panics, [""; 0]);
    assert_eq!(report.fell_short, [""; 0], "what makes the run void");
}
