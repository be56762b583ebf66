//! What the tests have in common: each server's simplest use, and a look at `/proc`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio::runtime::Runtime;

pub(crate) fn sql(url: &str, text: &str) -> String {
    let output = Command::new("psql").args(["-X", "-q", "-A", "-t", "-d", url, "-c", text]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Sends one record, creating the topic first; returns when the broker has it.
pub(crate) fn produce(brokers: &str, topic: &str, value: &str, create: bool) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    Runtime::new().unwrap().block_on(async {
        if create {
            let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
            let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
            let made = admin.create_topics([&new], &AdminOptions::new()).await;
            made.unwrap().remove(0).unwrap();
        }
        let producer: FutureProducer = config.create().unwrap();
        let record = FutureRecord::to(topic).key("key").payload(value);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    });
}

/// The topic's first record.
pub(crate) fn consume(brokers: &str, topic: &str) -> String {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "test").create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let record = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
    String::from_utf8(record.payload().unwrap().to_vec()).unwrap()
}

/// `devstack exec -- COMMAND`, with its output for us.
pub(crate) fn exec(command: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_devstack"))
        .args(["exec", "--"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether the servers are containers here.
pub(crate) fn in_containers() -> bool {
    std::env::var("DEVSTACK_SERVERS").is_ok_and(|servers| servers == "containers")
}

/// Of every container of `owner`, running or not, its image.
pub(crate) fn containers(owner: u32) -> Vec<String> {
    let label = format!("label=devstack={owner}");
    let mut docker = Command::new("docker");
    let output = docker.args(["ps", "--all", "--no-trunc", "--format", "{{.Image}}", "--filter", &label]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The living processes that belong to the stacks of `owner`, by command line or working folder; and
/// its containers.
pub(crate) fn members(owner: u32) -> Vec<String> {
    let mark = format!("/devstack/stack-{owner}-");
    let mut found = vec![];
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let cwd = fs::read_link(path.join("cwd")).unwrap_or_default();
        if command.contains(&mark) || cwd.to_string_lossy().contains(&mark) {
            found.push(format!("{} {command}", entry.file_name().to_string_lossy()));
        }
    }
    if in_containers() {
        found.extend(containers(owner));
    }
    found
}

pub(crate) fn folders(owner: u32) -> usize {
    folders_in(&devstack::target_dir().join("devstack"), owner)
}

/// The same where all stacks lie elsewhere.
pub(crate) fn folders_in(all: &Path, owner: u32) -> usize {
    let mark = format!("stack-{owner}-");
    fs::read_dir(all).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&mark)).count()
}

/// Waits for something that must come soon.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
