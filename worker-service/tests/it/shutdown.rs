//! SIGTERM under load: an orderly shutdown in time, and the last commit matches the tables.

use std::cell::Cell;

use devstack::Stack;

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_end_commits_what_it_did_and_its_successor_repeats_nothing() {
    let (kit, worker) = Kit::with_process("sigterm", 2).await;
    let stop = Cell::new(false);
    let load = async {
        let mut sent = 0;
        while !stop.get() {
            sent += 1;
            let id = sent.to_string();
            join_all(["a", "b", "c", "d"].map(|device| kit.event(device, &id, "{}"))).await;
        }
        sent
    };
    let succession = async {
        until("it works", async || kit.count("SELECT count(*) FROM events").await > 300).await;
        let took = worker.end().await;
        assert!(took < Duration::from_secs(25), "{took:?}");
        let done = sqlx::query_as("SELECT partition, max(\"offset\") + 1 FROM events GROUP BY 1 ORDER BY 1");
        let done: Vec<(i32, i64)> = done.fetch_all(&kit.pool).await.unwrap();
        assert_eq!(kit.committed().await.into_iter().collect::<Vec<_>>(), done, "what is committed is what is done");
        let successor = kit.process().await;
        let applied = async || successor.sample(r#"events_total{outcome="applied"}"#).await.unwrap_or_default();
        until("the successor applies events under load", async || applied().await > 0.0).await;
        stop.set(true);
        successor
    };
    let (sent, successor): (i64, _) = tokio::join!(load, succession);
    until("all is done", async || kit.count("SELECT count(*) FROM events").await == 4 * sent).await;
    assert_eq!(successor.sample(r#"events_total{outcome="repeated"}"#).await, Some(0.0), "it had nothing to repeat");
    successor.end().await;
    assert_eq!(kit.committed().await.values().sum::<i64>(), 4 * sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_to_answer_it_ends_in_time_all_the_same() {
    let start = || {
        let stack = Stack::start().unwrap();
        let scope = Scope::on(&stack.endpoints(), "nobody").unwrap();
        (stack, scope)
    };
    let (stack, scope) = blocking(start).await;
    let kit = Kit::on(scope, 2).await;
    // A collector that accepts connections and never answers.
    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let worker = kit.process_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let sampled = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    let report = async |count: usize| {
        for n in 0..count {
            let (device, id) = (format!("d{}", n % 10), format!("{count}-{n}"));
            kit.event_with(&device, &id, "{}", &sampled).await;
        }
    };
    report(20).await;
    kit.until("SELECT count(*) FROM events", 20).await;
    // First fences and spans have to wait, then everything.
    stack.redis.freeze().unwrap();
    report(30).await;
    until("some of it is done", async || kit.count("SELECT count(*) FROM events").await > 20).await;
    stack.kafka.freeze().unwrap();
    stack.postgres.freeze().unwrap();
    let took = worker.end().await;
    assert!(took < Duration::from_secs(22), "{took:?}");
    stack.postgres.thaw().unwrap();
}
