//! `dlq purge`: deletes old letters, from the beginning of a partition up to the first one that stays.

use crate::prelude::*;

const OLD: &[(&str, &str)] = &[("dlq.failed_at", "2026-01-01T00:00:00Z")];
const NEW: &[(&str, &str)] = &[("dlq.failed_at", "2026-03-01T00:00:00Z")];

async fn purge(kit: &Kit, more: &[&str]) -> Vec<Value> {
    let said = kit.succeeds(&[&["dlq", "purge", "--before=2026-02-01T00:00:00Z"], more].concat()).await;
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect()
}

async fn left(kit: &Kit) -> Vec<(i64, i64)> {
    let letters = kit.list(&[]).await;
    letters.iter().map(|letter| (letter["partition"].as_i64().unwrap(), letter["offset"].as_i64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_goes_up_to_the_first_letter_that_stays() {
    let kit = Kit::new("purge", 1).await;
    for (device, id, failed_at) in
        [("a", "1", OLD), ("b", "1", OLD), ("a", "2", NEW), ("a", "3", OLD), ("b", "2", OLD), ("a", "4", NEW)]
    {
        kit.letter(device, id, 1, failed_at).await;
    }
    let [first, summary] = &purge(&kit, &["--json", "--dry-run"]).await[..] else { panic!() };
    assert_eq!((&first["deleted"], &first["up_to"], &first["behind"]), (&json!(2), &json!(2), &json!(2)), "{first}");
    assert_eq!((&first["stays"]["offset"], &first["stays"]["event_id"]), (&json!(2), &json!("2")));
    assert_eq!(summary["summary"], json!({"deleted": 2, "behind": 2, "dry_run": true}));
    assert_eq!(left(&kit).await.len(), 6, "a dry run deletes nothing");

    let of_b = purge(&kit, &["--key=b"]).await;
    let says = "0: deleted 0 dead letters, up to offset 0; 0/0 stays (key=a event=1 failed_at=2026-01-01T00:00:00Z), and 2 matching ones behind it";
    assert_eq!(of_b, [says, "deleted 0 dead letters; 2 other matching ones stay"]);
    assert_eq!(left(&kit).await.len(), 6);

    let of_a = purge(&kit, &["--device=a", "--json"]).await;
    assert_eq!((&of_a[0]["deleted"], &of_a[0]["stays"]["key"]), (&json!(1), &json!("b")));
    assert_eq!(left(&kit).await, [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]);
    let all = purge(&kit, &["--json"]).await;
    assert_eq!((&all[0]["deleted"], &all[0]["up_to"], &all[1]["summary"]["behind"]), (&json!(1), &json!(2), &json!(2)));
    assert_eq!(left(&kit).await, [(0, 2), (0, 3), (0, 4), (0, 5)]);
    assert_eq!(purge(&kit, &["--json"]).await[1]["summary"]["deleted"], json!(0), "again there is nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_all_of_whose_letters_are_older_is_empty_then() {
    let kit = Kit::new("purge_all", 3).await;
    for device in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        kit.letter(device, "1", 1, OLD).await;
    }
    let told = purge(&kit, &["--json"]).await;
    assert_eq!(told.len(), 4, "each partition, and the summary");
    assert!(told[..3].iter().all(|partition| partition["stays"].is_null()), "{told:?}");
    assert_eq!(told[3]["summary"]["deleted"], json!(8));
    assert_eq!(left(&kit).await, []);
    // Later letters are found.
    kit.letter("a", "2", 1, NEW).await;
    assert_eq!(left(&kit).await.len(), 1);

    let said = kit.command(&["dlq", "purge"]).await;
    assert_ne!(said.status, 0);
    assert!(said.error.contains("--before"), "{said:?}");
}
