//! A short run, always the same: half a minute of faults, and five promises.

use std::time::Duration;

const SEED: u64 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn half_a_minute_of_faults_breaks_no_promise() {
    let folder = devstack::target_dir().join("chaos");
    let report = chaos::run::run(SEED, Duration::from_secs(30), &[], &folder).await.unwrap();
    println!("{}", report.table());
    assert_eq!(report.broken, []);
    assert_eq!(report.ended, [""; 0], "services that ended by themselves");
    assert_eq!(report.panics, [""; 0]);
    assert!(report.accepted > 100, "{} events were accepted", report.accepted);
    assert!(report.faults.len() >= 8, "{} faults happened", report.faults.len());
}
