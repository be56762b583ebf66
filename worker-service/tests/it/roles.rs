//! The handlers and tasks that a process runs, and the records that belong to a handler.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_runs_only_what_it_is_told_to() {
    let kit = Kit::new("roles", 1).await;
    let settings = [("WORKER_ONLY", "devices-expire"), ("EMF_NAMESPACE", "Test"), ("EMF_INTERVAL", "1s")];
    let expires = kit.process_with(&settings).await;
    until("it is ready", async || expires.ready().await.0 == 200).await;
    let health = expires.health().await;
    assert_eq!(health["groups"], json!({}));
    assert_eq!(health["tasks"], json!({"devices-expire": {"running": true, "panics": 0}}));
    // CloudWatch has an alarm for a task that no process runs.
    until("it tells CloudWatch of its task", async || {
        let log = expires.service.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.any(|line| line["Task"] == "devices-expire" && line["TaskRunning"] == 1)
    })
    .await;
    kit.event("a", "1", "{}").await;

    let applies = kit.process_with(&[("WORKER_ONLY", "Devices")]).await;
    kit.until("SELECT count(*) FROM events", 1).await;
    let health = applies.health().await;
    assert_eq!((&of_group(&health)["status"], &health["tasks"]), (&json!("ready"), &json!({})));

    let metrics = [expires.metrics().await, applies.metrics().await];
    let tells = |of: usize, name: &str| metrics[of].lines().any(|line| line.starts_with(name));
    assert!(tells(0, "task_running{task=\"devices-expire\"} 1") && !tells(1, "task_running"));
    assert!(tells(1, "assigned_partitions") && !tells(0, "assigned_partitions"));
    kit.until_committed(0, 1).await;
    // Both shut down as any worker does.
    expires.end().await;
    applies.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nothing_has_is_refused_with_the_names_that_there_are() {
    let scope = scope("no_role").await;
    for (args, known) in [
        (
            &["run", "--only", "devices,placements"][..],
            "outbox-relay, inbox-expire, keys-expire, devices-expire, ads-settle",
        ),
        (&["dlq", "list", "--handler", "placements"], "[possible values: devices, ads, read-model, files, validator]"),
    ] {
        let said = run(program(&scope, args)).await;
        assert!(said.status == 2 && said.error.contains("'placements'") && said.error.contains(known), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_two_domains_use_are_refused_whichever_of_them_runs() {
    let scope = scope("names_twice").await;
    let mut config = run_config(&scope);
    config.only = vec!["devices-expire".to_owned()];
    let mut registry = worker_service::domains::registry();
    worker_service::devices::register(&mut registry);
    let refused = Worker::start_with(&config, registry, Parts::default()).err().unwrap().to_string();
    assert_eq!(refused, r#"two handlers or tasks have the name "devices""#);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_redriven_for_another_group_is_passed_over() {
    let kit = Kit::new("regroup", 1).await;
    let mut config = run_config(&kit.scope);
    config.sources.0[0].other_groups = vec!["another".to_owned()];
    let worker = Worker::start(&config).unwrap();
    kit.event("x", "1", "{}").await;
    let origin =
        [("origin.topic", "t"), ("origin.partition", "0"), ("origin.offset", "1"), ("origin.timestamp", "1000")];
    let redriven = |group| [&origin[..], &[("redrive.group", group)]].concat();
    kit.event_with("a", "of-another", "{}", &redriven("another")).await;
    kit.event_with("b", "of-ours", "{}", &redriven(kit.scope.group.as_str())).await;
    // For example an earlier name of this group.
    kit.event_with("c", "of-nobody", "{}", &redriven("unknown")).await;
    // Without origin headers, it was not redriven.
    kit.event_with("d", "foreign", "{}", &[("redrive.group", "another")]).await;
    // No group had accepted it.
    kit.event_with("e", "of-all", "{}", &redriven("")).await;
    kit.until("SELECT count(*) FROM events", 5).await;
    assert_eq!(kit.outcome("of-another").await, None);
    kit.event_with("a", "of-another", "{}", &redriven("another")).await;
    kit.until_committed(0, 7).await;
    assert_eq!(kit.dead_letters(0).await.len(), 0);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_its_groups_and_goes_back_to_that_one() {
    let kit = Kit::new("regrouped", 1).await;
    kit.letter("a", "1", 10, &[("dlq.group", "another")]).await;
    kit.letter("b", "1", 20, &[("dlq.group", kit.scope.group.as_str())]).await;
    kit.letter("c", "1", 30, &[]).await;
    let devices = async |others: &[&str]| {
        let letters = kit.list_beside(others, &[]).await;
        letters.iter().map(|letter| letter["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join("")
    };
    assert_eq!(devices(&[]).await, "abc", "no other group is known");
    assert_eq!(devices(&["another"]).await, "bc");
    let (summary, _) = kit.redrive(&["--key=b"]).await.unwrap();
    assert_eq!(summary.sent, 1);
    let sent = kit.records(1).await;
    assert_eq!(header(&sent[0], "redrive.group").as_deref(), Some(kit.scope.group.as_str()));
}
