//! Both services behind a transaction pooler (PgBouncer), with fewer server connections than clients.

use devstack::{PgBouncer, psql};

use crate::prelude::*;

/// Connections of the pooler to PostgreSQL; each service may have ten to the pooler.
const BEHIND: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_and_the_commands_go_through_a_pooler() {
    // `setup` connects directly.
    let system = System::start("pooler", &[]).await;
    let direct = system.scope.database_url.clone();
    let port = devstack::port::of(&direct).unwrap();
    let bouncer = blocking(move || PgBouncer::start(port, BEHIND).unwrap()).await;
    let url = bouncer.url(&direct).unwrap();
    let pooled = [("DATABASE_URL", url.as_str()), ("DATABASE_POOLER", "transaction"), ("REDIS_TIMEOUT", "5s")];
    let (done, said) = system.command(&["setup"], &pooled).await;
    assert!(!done && said.contains("give `setup` a DATABASE_URL that connects to PostgreSQL directly"), "{said}");

    // A worker without the pooler's setting reports that it needs it.
    let worker = system.worker_with(&[("DATABASE_URL", &url)]);
    let told = async || {
        let health = worker.health().await;
        let why = health["outage"].as_str().unwrap_or_default();
        why.contains("a pooler in transaction mode needs DATABASE_POOLER=transaction")
    };
    system.until("the worker says what it needs", told).await;
    tokio::time::timeout(Duration::from_secs(30), worker.end()).await.unwrap();

    let api = system.another_api_with(&pooled);
    let workers = [system.worker_with(&pooled), system.worker_with(&pooled)];
    for worker in &workers {
        system.until("the worker is ready", async || worker.status().await == "ready").await;
    }
    let ready = async || api.dependency("postgres").await == json!({"status": "up"});
    system.until("the API reaches PostgreSQL", ready).await;

    // Sixty devices in all partitions, each read while it is written.
    let post = async |device: &str, number: i64| {
        let event = event(device).id(number).payload(json!({"n": number}));
        system.send_to(&api, &event).await.unwrap().status()
    };
    let get = async |path: &str| system.get_from(&api, path).await.unwrap();
    let devices: Vec<_> = (0..60).map(|n| format!("d{n}")).collect();
    let report = async |device: &String| {
        for number in 1..=5 {
            assert_eq!(post(device, number).await, 202);
            let found = get(device).await.status();
            assert!(found == 200 || found == 404, "{found}");
        }
    };
    // Only as many at once as get one of the few connections in time on a busy machine.
    for some in devices.chunks(10) {
        futures_util::future::join_all(some.iter().map(&report)).await;
    }
    system.until("all are applied", async || system.rows().await == 300).await;
    for device in &devices {
        let at_last = async || get(device).await.json::<Value>().await.unwrap()["version"] == 5;
        system.until("its last version is read", at_last).await;
    }
    let history: Value = get("d7/events").await.json().await.unwrap();
    assert_eq!(history["items"].as_array().unwrap().len(), 5, "{history}");
    let servers = blocking({
        let admin = format!("postgres://postgres@127.0.0.1:{}/pgbouncer", bouncer.port);
        move || psql(&admin, "SHOW SERVERS").unwrap()
    })
    .await;
    assert!(servers.lines().count() <= usize::try_from(BEHIND).unwrap(), "{servers}");

    // A dead letter, and the operators' commands.
    system.put("no-event", "not an event", &[]).await;
    system.until("there is a dead letter", async || system.dead_letters().await == 1).await;
    for (command, expected) in [
        (&["dlq", "list", "--json"][..], "undecodable"),
        (&["dlq", "redrive", "--dry-run"], "would send 1, "),
        (&["dlq", "redrive"], "1 matched: sent 1, "),
        (&["resume"], "no partition of the group"),
        (&["erase", "d7"], "erased d7: 5 events, version 5"),
    ] {
        let (done, said) = system.command(command, &pooled).await;
        assert!(done && said.contains(expected), "{command:?}: {said}");
    }
    assert_eq!(get("d7").await.status(), 404);

    // A frozen pooler is reported like a frozen PostgreSQL; both services recover by themselves.
    bouncer.freeze().unwrap();
    assert_eq!(post("late", 1).await, 202);
    let waits = async || {
        let outages = futures_util::future::join_all(workers.iter().map(async |worker| worker.health().await)).await;
        let server = format!("PostgreSQL at 127.0.0.1:{}: ", bouncer.port);
        outages.iter().any(|body| body["outage"].as_str().is_some_and(|why| why.contains(&server)))
    };
    system.until("a worker says that the pooler does not answer", waits).await;
    bouncer.thaw().unwrap();
    system.until("it goes on", async || system.rows().await == 296).await;
    // No log has an error that a pooler causes, such as an unsupported parameter or a missing prepared statement.
    for log in [api.service.log(), workers[0].service.log(), workers[1].service.log()] {
        for wrong in ["prepared statement", "unsupported startup parameter", "26000", "08P01"] {
            assert_eq!(log.lines().find(|line| line.contains(wrong)), None);
        }
    }
    for worker in workers {
        worker.end().await;
    }
}
