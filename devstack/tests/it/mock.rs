//! Without Java, Kafka is librdkafka's in-process broker, and it says so.

use std::io::Read as _;
use std::process::{Command, Stdio};

use devstack::Endpoints;

#[test]
fn the_mock_is_announced_in_the_first_line() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_devstack"))
        .args(["exec", "--", "sh", "-c", "echo \"$DEVSTACK\""])
        .env("DEVSTACK_KAFKA", "mock")
        .env("DEVSTACK_SERVERS", "processes")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut output, mut errors) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(
        errors.lines().next().unwrap(),
        "devstack: DEVSTACK_KAFKA=mock: Kafka is librdkafka's in-process mock, in memory; nothing \
         survives a restart"
    );
    let endpoints: Endpoints = serde_json::from_str(&output).unwrap();
    assert!(!endpoints.kafka_is_real);
}
