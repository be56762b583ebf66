//! A server that was stopped or killed comes back on its port, with what it had promised to keep.

use std::time::Instant;

use devstack::{Server, Stack};
use redis::Commands as _;

use crate::freeze::frozen_servers_answer_after_the_thaw;
use crate::helpers::{consume, produce, sql};

fn timed(what: &str, act: impl FnOnce() -> anyhow::Result<()>) {
    let from = Instant::now();
    act().unwrap();
    println!("{what}: {:?}", from.elapsed());
}

fn kill_and_start(name: &str, server: &Server) {
    timed(&format!("{name} kill"), || server.kill());
    assert!(!server.is_running());
    timed(&format!("{name} start after kill"), || server.start());
    assert!(server.is_running());
}

fn stop_and_start(name: &str, server: &Server) {
    timed(&format!("{name} stop"), || server.stop());
    assert!(!server.is_running());
    timed(&format!("{name} start after stop"), || server.start());
    assert!(server.is_running());
}

/// All that can be done to the servers of a stack, and its end, which leaves no process behind.
#[test]
fn servers_come_back_with_what_they_keep_and_leave_nothing_behind() {
    let from = Instant::now();
    let stack = Stack::start().unwrap();
    println!("stack: {:?}", from.elapsed());
    let at = stack.endpoints();

    sql(&at.postgres_url, "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('row')");
    kill_and_start("PostgreSQL", &stack.postgres);
    assert_eq!(sql(&at.postgres_url, "SELECT word FROM kept"), "row");
    stop_and_start("PostgreSQL", &stack.postgres);
    assert_eq!(sql(&at.postgres_url, "SELECT word FROM kept"), "row");

    let client = redis::Client::open(at.redis_url.as_str()).unwrap();
    for again in [Server::kill, Server::stop] {
        let mut redis = client.get_connection().unwrap();
        redis.set::<_, _, ()>("key", "value").unwrap();
        again(&stack.redis).unwrap();
        assert!(client.get_connection().is_err());
        stack.redis.start().unwrap();
        let mut redis = client.get_connection().unwrap();
        assert_eq!(redis.get::<_, Option<String>>("key").unwrap(), None);
    }

    produce(&at.kafka_brokers, "kept", "record", true);
    kill_and_start("Kafka", &stack.kafka);
    assert_eq!(consume(&at.kafka_brokers, "kept"), "record");
    stop_and_start("Kafka", &stack.kafka);
    assert_eq!(consume(&at.kafka_brokers, "kept"), "record");
    produce(&at.kafka_brokers, "kept", "another", false);
    assert_eq!(stack.endpoints(), at);

    frozen_servers_answer_after_the_thaw(&stack);
    stack.redis.start().unwrap();

    let pids = [stack.kafka.pid(), stack.postgres.pid(), stack.redis.pid()];
    assert!(stack.casualties().is_empty());
    let from = Instant::now();
    drop(stack);
    println!("drop: {:?}", from.elapsed());
    for pid in pids.into_iter().flatten() {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
