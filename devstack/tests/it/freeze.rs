//! A frozen server answers nobody, and everybody once it is thawed.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use devstack::{Server, Stack};

use crate::helpers::{eventually, produce, sql};

/// `answer` has no end while the server is frozen, and one soon after.
fn freezes(server: &Server, answer: impl FnOnce() + Send + 'static) {
    server.freeze().unwrap();
    assert!(server.is_running());
    let (done, end) = channel();
    let waiting = std::thread::spawn(move || {
        answer();
        let _ = done.send(());
    });
    let early = end.recv_timeout(Duration::from_millis(700));
    assert_eq!(early, Err(RecvTimeoutError::Timeout), "a frozen server answered");
    server.thaw().unwrap();
    assert_eq!(end.recv_timeout(Duration::from_secs(20)), Ok(()));
    waiting.join().unwrap();
}

pub(crate) fn frozen_servers_answer_after_the_thaw(stack: &Stack) {
    let at = stack.endpoints();

    let url = at.postgres_url.clone();
    freezes(&stack.postgres, move || assert_eq!(sql(&url, "SELECT 1"), "1"));

    // One whose connection is there already: its backend is frozen, not just the postmaster.
    let url = at.postgres_url.clone();
    let sleeper = std::thread::spawn(move || sql(&url, "SELECT pg_sleep(5)"));
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    eventually("a backend is at work", || sql(&at.postgres_url, asleep) == "1");
    freezes(&stack.postgres, move || {
        sleeper.join().unwrap();
    });

    let client = redis::Client::open(at.redis_url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    freezes(&stack.redis, move || {
        redis::cmd("PING").exec(&mut connection).unwrap();
    });

    produce(&at.kafka_brokers, "frozen", "before", true);
    let brokers = at.kafka_brokers.clone();
    freezes(&stack.kafka, move || produce(&brokers, "frozen", "during", false));

    // Frozen ones can be ended all the same.
    stack.postgres.freeze().unwrap();
    stack.postgres.stop().unwrap();
    stack.postgres.start().unwrap();
    stack.redis.freeze().unwrap();
    stack.redis.kill().unwrap();
    assert!(!stack.redis.is_running());
}
