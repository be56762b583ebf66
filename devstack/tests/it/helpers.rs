//! Shared helpers: a minimal use of each server, and lookups in `/proc`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) use devstack::kit::until_blocking as eventually;
use devstack::kit::{TEST_TIMEOUT, read_some};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message as _};
use tokio::runtime::Runtime;

/// Sends one record and waits for the acknowledgement; creates the topic first if asked.
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
    let text = |message: BorrowedMessage<'_>| String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
    read_some(brokers, topic, 1, TEST_TIMEOUT, text).remove(0)
}

/// `devstack exec -- COMMAND` with captured output.
pub(crate) fn exec(command: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_devstack"))
        .args(["exec", "--"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The living processes that belong to the stacks of `owner`, by command line or working folder.
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
    found
}

pub(crate) fn folders(owner: u32) -> usize {
    folders_in(&devstack::target_dir().join("devstack"), owner)
}

/// The same for stacks in another folder.
pub(crate) fn folders_in(all: &Path, owner: u32) -> usize {
    let mark = format!("stack-{owner}-");
    fs::read_dir(all).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&mark)).count()
}
