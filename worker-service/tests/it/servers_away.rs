//! A server is down or refuses writes: the worker waits, and reports what the runbook says.

use crate::prelude::*;

async fn behind_a_proxy(kit: &Kit) -> (Proxy, Process) {
    let (proxy, url) = Proxy::before(&kit.scope.database_url).unwrap();
    let worker = kit.process_with(&[("DATABASE_URL", &url), ("DATABASE_TIMEOUT", "2s")]).await;
    (proxy, worker)
}

/// None of the waiting events became a dead letter, and all are applied.
async fn assert_caught_up(kit: &Kit, worker: Process, events: i64) {
    kit.until("SELECT count(*) FROM events WHERE outcome = 'applied'", events).await;
    worker.end().await;
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_away_and_then_does_not_answer() {
    let kit = Kit::new("no_postgres", 1).await;
    let (proxy, worker) = behind_a_proxy(&kit).await;
    kit.apply("a", "1", "{}").await;
    proxy.cut();
    kit.event("a", "2", "{}").await;
    worker.tells("PostgreSQL is away").await;
    proxy.mend();
    worker.tells_end_of("PostgreSQL is away").await;
    kit.until("SELECT count(*) FROM events", 2).await;
    worker.end().await;

    let (proxy, worker) = behind_a_proxy(&kit).await;
    kit.apply("a", "3", "{}").await;
    proxy.hold();
    kit.event("a", "4", "{}").await;
    worker.tells("PostgreSQL does not answer").await;
    proxy.mend();
    worker.tells_end_of("PostgreSQL does not answer").await;
    assert_caught_up(&kit, worker, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_away_when_the_worker_starts() {
    let kit = Kit::new("no_postgres_yet", 1).await;
    let (proxy, url) = Proxy::before(&kit.scope.database_url).unwrap();
    proxy.cut();
    let worker = kit.process_with(&[("DATABASE_URL", &url)]).await;
    kit.event("a", "1", "{}").await;
    worker.tells("PostgreSQL is away when the worker starts").await;
    proxy.mend();
    worker.tells_end_of("PostgreSQL is away when the worker starts").await;
    assert_caught_up(&kit, worker, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_s_name_leads_to_a_standby() {
    let (primary, kit) = Kit::on_postgres("standby", 1).await;
    let (name, worker) = behind_a_proxy(&kit).await;
    kit.apply("a", "1", "{}").await;
    let follow = move || (primary.standby(Duration::ZERO).unwrap(), primary);
    let (standby, primary) = blocking(follow).await;
    name.lead_to(standby.port);
    name.drop_connections();
    kit.event("a", "2", "{}").await;
    worker.tells("PostgreSQL's name leads to a standby").await;
    name.lead_to(primary.port);
    worker.tells_end_of("PostgreSQL's name leads to a standby").await;
    assert_caught_up(&kit, worker, 2).await;
}

/// Some providers set this when the disk is nearly full.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_read_only() {
    let kit = Kit::new("read_only", 1).await;
    let name = kit.scope.database_url.rsplit_once('/').unwrap().1;
    let set = |to: &str| sqlx::AssertSqlSafe(format!("BEGIN READ WRITE; ALTER DATABASE \"{name}\" {to}; COMMIT"));
    let worker = kit.process().await;
    kit.apply("a", "1", "{}").await;
    kit.sql(set("SET default_transaction_read_only = on")).await;
    // Existing sessions do not see the change.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    kit.sql(end).await;
    kit.event("a", "2", "{}").await;
    worker.tells("PostgreSQL is read-only").await;
    kit.sql(set("RESET default_transaction_read_only")).await;
    worker.tells_end_of("PostgreSQL is read-only").await;
    assert_caught_up(&kit, worker, 2).await;
}

/// The error code of a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_has_no_room() {
    let kit = Kit::new("no_room", 1).await;
    kit.refuse_with("%", "53100").await;
    let worker = kit.process().await;
    kit.event("a", "1", "{}").await;
    worker.tells("PostgreSQL's disk is full").await;
    worker.tells("An outage, and nobody else's event is in hand").await;
    kit.no_longer_refuse("%").await;
    worker.tells_end_of("PostgreSQL's disk is full").await;
    worker.tells_end_of("An outage, and nobody else's event is in hand").await;
    assert_caught_up(&kit, worker, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_takes_a_commit_only_at_the_next_try() {
    let (kit, mock) = Kit::on_mock("no_commit").await;
    kit.event("a", "1", "{}").await;
    let worker = kit.worker();
    kit.until_committed(0, 1).await;
    mock.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    kit.event("a", "2", "{}").await;
    InProcess(&worker).tells("A commit of offsets fails").await;
    kit.until_committed(0, 2).await;
    worker.stop().await.unwrap();
}

/// The client's warnings so far by kind: their times, and how many were left out before each.
fn warnings(worker: &Process) -> BTreeMap<String, Vec<(OffsetDateTime, u64)>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in told(&worker.service.log(), "Kafka client").iter().filter(|line| line["level"] == "WARN") {
        let at = line["timestamp"].as_str().unwrap();
        let at = OffsetDateTime::parse(at, &time::format_description::well_known::Rfc3339).unwrap();
        let left_out = line["left_out"].as_u64().unwrap_or(0);
        all.entry(line["what"].as_str().unwrap().to_owned()).or_default().push((at, left_out));
    }
    all
}

/// All clients of the worker repeat the same warnings: each kind is logged once per interval.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_is_away_when_the_worker_starts_and_each_kind_of_warning_is_told_once_in_a_while() {
    let kit = Kit::new("no_kafka", 1).await;
    let worker = kit.process_with(&[("KAFKA_BROKERS", &nobody())]).await;
    worker.tells("Kafka is away when the worker starts").await;
    let left_out = || warnings(&worker).values().flatten().filter(|(_, left_out)| *left_out > 0).count();
    until("some are left out, and counted", async || left_out() >= 2).await;
    for (kind, told) in warnings(&worker) {
        for pair in told.windows(2) {
            // The timestamp is taken when the line is written.
            assert!(pair[1].0 - pair[0].0 > time::Duration::seconds(9), "{kind}: {told:?}");
        }
    }
    let log = worker.service.log();
    assert!(log.contains("Connection refused"), "the first of a kind says why: {log}");
    assert!(!log.contains("librdkafka: "), "no client logs past that: {log}");
    worker.end().await;
}
