//! The topic settings that the delivery guarantees need, and the faults of a topic.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ConfigSource, ResourceSpecifier};

use super::replicas::{self, REPLICAS, Replicas};
use crate::kafka::{ADMIN_TIMEOUT, Detached, LogContext};

/// The largest record of the input topic, in bytes.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// The additional bytes of a dead letter, for the `dlq.` headers.
const LETTER_BYTES: usize = 64 * 1024;
/// The largest record of the dead-letter topic.
pub const MAX_DEAD_LETTER_BYTES: usize = MAX_RECORD_BYTES + LETTER_BYTES;
/// The largest event that the API accepts, with all its headers.
const MAX_EVENT_BYTES: usize = crate::runtime::json::MAX_PAYLOAD_BYTES + 32 * 1024;

/// How long the input topic keeps records: a week, in milliseconds.
pub(super) const RETENTION_MS: &str = "604800000";
/// The least allowed retention: an outage of PostgreSQL, and the time to repair it.
const LEAST_RETENTION_MS: i64 = 24 * 3600 * 1000;
/// The least clock error of a producer that the broker must accept.
const LEAST_DIFFERENCE_MS: i64 = 3600 * 1000;
/// The settings that limit this error. They have no effect with `LogAppendTime`.
const DIFFERENCES: [&str; 3] =
    ["message.timestamp.before.max.ms", "message.timestamp.after.max.ms", "message.timestamp.difference.max.ms"];

pub(super) const CLEANUP_POLICY: &str = "cleanup.policy";
pub(super) const RETENTION: &str = "retention.ms";
pub(super) const RETENTION_BYTES: &str = "retention.bytes";
pub(super) const MAX_MESSAGE: &str = "max.message.bytes";
pub(super) const TIMESTAMP_TYPE: &str = "message.timestamp.type";
pub(super) const COMPRESSION: &str = "compression.type";
pub(super) const MIN_INSYNC: &str = "min.insync.replicas";
pub(super) const UNCLEAN: &str = "unclean.leader.election.enable";
/// The broker decompresses batches before it checks their size.
pub(super) const UNCOMPRESSED: &str = "uncompressed";
/// The broker's clock sets a record's time.
pub(super) const LOG_APPEND_TIME: &str = "LogAppendTime";

/// Which of the two topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The topic of accepted events.
    Input,
    /// The topic of dead letters.
    DeadLetters,
}

/// A topic's settings, as the brokers return them: its own, and the brokers' defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSettings {
    all: BTreeMap<String, String>,
    /// The names of the topic's own settings.
    own: Vec<String>,
    /// The names of settings that are or may be the topic's own and that the brokers do not return in full: the value
    /// is hidden, or the source is unknown.
    pub(super) unreported: Vec<String>,
    /// The replicas of its partitions; `None` if unknown.
    replicas: Option<Replicas>,
}

/// A setting with a wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting's name.
    pub setting: &'static str,
    /// The value found.
    pub found: String,
    /// The required value, in words.
    pub needed: String,
    /// A value that satisfies the requirement.
    pub good: String,
    /// The consequence of the wrong value.
    pub harm: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}, but must be {}: {}", self.setting, self.found, self.needed, self.harm)
    }
}

impl Fault {
    /// The shell command that corrects it.
    pub fn command(&self, brokers: &str, topic: &str) -> String {
        if self.setting == REPLICAS {
            return replicas::command(&self.good, brokers);
        }
        format!(
            "kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {topic} \
             --add-config {}={}",
            self.setting, self.good
        )
    }
}

impl TopicSettings {
    /// Asks the brokers.
    pub async fn of(client: &ClientConfig, topic: &str) -> anyhow::Result<Self> {
        let mut settings = Self::from(describe(client, ResourceSpecifier::Topic(topic)).await?);
        anyhow::ensure!(
            !settings.all.is_empty(),
            "Kafka does not return the settings of the topic {topic}: it does not exist, or this needs the right \
             DescribeConfigs on it"
        );
        settings.replicas = Some(Replicas::of(client, topic).await?);
        Ok(settings)
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all.get(name).map(String::as_str)
    }

    /// The parsed value of a setting that every broker has.
    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str) -> anyhow::Result<T> {
        let value = self.get(name).with_context(|| format!("Kafka does not return {name}"))?;
        value.parse().ok().with_context(|| format!("{name}={value}"))
    }

    /// The topic's own settings, without the brokers' defaults.
    pub(super) fn own(&self) -> impl Iterator<Item = (&str, &str)> {
        self.own.iter().filter_map(|name| Some((name.as_str(), self.get(name)?)))
    }

    /// The same with another value of one setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.all.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The smallest number of replicas of any partition; `None` if unknown.
    pub fn replicas(&self) -> Option<usize> {
        self.replicas.as_ref().and_then(Replicas::fewest)
    }

    /// How long the topic keeps records; `None` if it keeps them forever, or if that is unknown.
    pub fn retention(&self) -> Option<Duration> {
        self.number(RETENTION).and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis)
    }

    /// Whether the producers' clocks set the records' times.
    pub fn has_create_time(&self) -> bool {
        self.get(TIMESTAMP_TYPE).is_some_and(|kind| kind != LOG_APPEND_TIME)
    }

    /// Each setting that violates the delivery guarantees. A setting that the brokers do not return counts as good: a
    /// broker that does not know it does not act on it.
    ///
    /// `min_insync` is the least `min.insync.replicas`. `input` has the settings of the input topic, if this is its
    /// dead-letter topic.
    pub fn faults(&self, role: Role, min_insync: i32, input: Option<&Self>) -> Vec<Fault> {
        let mut faults = Faults { settings: self, found: Vec::new() };
        faults.text(CLEANUP_POLICY, "delete", "compaction deletes all records of a key but its last");
        faults.text(
            COMPRESSION,
            UNCOMPRESSED,
            "a compressed batch may decompress to more than its reader has memory for, or accepts",
        );
        match role {
            Role::Input => {
                faults.least(
                    RETENTION,
                    (LEAST_RETENTION_MS, "at least a day (86400000)"),
                    RETENTION_MS,
                    "events are deleted before an outage is over",
                );
                faults.text(
                    RETENTION_BYTES,
                    "-1",
                    "events are deleted before they are consumed, because the topic is too large",
                );
                let least = (bytes(MAX_EVENT_BYTES), "at least 294912, for the largest event");
                faults.least(MAX_MESSAGE, least, &MAX_RECORD_BYTES.to_string(), "large events are refused");
                faults.text(
                    TIMESTAMP_TYPE,
                    LOG_APPEND_TIME,
                    "for a key that moved to another partition, the producers' clocks decide which state is newer",
                );
                if self.has_create_time() {
                    for name in DIFFERENCES {
                        faults.least(
                            name,
                            (LEAST_DIFFERENCE_MS, "at least an hour (3600000)"),
                            &LEAST_DIFFERENCE_MS.to_string(),
                            "events of an API whose clock is wrong by more are refused",
                        );
                    }
                }
            }
            Role::DeadLetters => {
                faults.text(RETENTION, "-1", "dead letters are deleted before anybody has seen them");
                faults.text(RETENTION_BYTES, "-1", "dead letters are deleted because the topic is too large");
                let of_input = input.and_then(|input| input.number(MAX_MESSAGE)).unwrap_or(bytes(MAX_RECORD_BYTES));
                let least = of_input.min(bytes(MAX_RECORD_BYTES)) + bytes(LETTER_BYTES);
                let needed = format!("at least {least}, the input topic's plus 64 KiB");
                let good = least.max(bytes(MAX_DEAD_LETTER_BYTES)).to_string();
                faults.least(
                    MAX_MESSAGE,
                    (least, &needed),
                    &good,
                    "dead letters are truncated, and cannot be redriven",
                );
            }
        }
        let (least, needed) = (i64::from(min_insync), format!("at least {min_insync}"));
        // The replicas that must hold a record: the greater of the required number and the topic's own.
        let holders = usize::try_from(least.max(self.number(MIN_INSYNC).unwrap_or(1))).unwrap_or(1);
        if let Some(replicas) = &self.replicas
            && let Some(found) = replicas.fewest().filter(|found| *found < holders)
        {
            faults.found.push(Fault {
                setting: REPLICAS,
                found: found.to_string(),
                needed: format!("at least {holders}"),
                good: replicas.reassignment(holders).unwrap_or_default(),
                harm: "an acknowledged event may exist on too few disks, whatever min.insync.replicas is",
            });
        }
        faults.least(
            MIN_INSYNC,
            (least, &needed),
            &min_insync.to_string(),
            "an acknowledged event may exist on too few disks",
        );
        faults.text(
            UNCLEAN,
            "false",
            "a replica that lags may become the leader, and the records that it lacks are lost",
        );
        faults.found
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }
}

struct Faults<'a> {
    settings: &'a TopicSettings,
    found: Vec<Fault>,
}

impl Faults<'_> {
    /// Checks a setting that must have exactly this value.
    fn text(&mut self, setting: &'static str, needed: &str, harm: &'static str) {
        if let Some(found) = self.settings.get(setting).filter(|found| *found != needed) {
            let (found, needed) = (found.to_owned(), needed.to_owned());
            self.found.push(Fault { setting, found, good: needed.clone(), needed, harm });
        }
    }

    /// Checks a setting that must be at least `least`, or -1 (no limit).
    fn least(&mut self, setting: &'static str, (least, needed): (i64, &str), good: &str, harm: &'static str) {
        if let Some(found) = self.settings.number(setting).filter(|found| (0..least).contains(found)) {
            let (needed, good) = (needed.to_owned(), good.to_owned());
            self.found.push(Fault { setting, found: found.to_string(), needed, good, harm });
        }
    }
}

impl From<ConfigResource> for TopicSettings {
    fn from(told: ConfigResource) -> Self {
        let mut settings = Self::default();
        for entry in told.entries {
            let is_own = entry.source == ConfigSource::DynamicTopic;
            // The broker does not say whether the setting is the topic's own.
            let may_be = entry.source == ConfigSource::Unknown && !entry.is_default;
            if may_be || is_own && entry.value.is_none() {
                settings.unreported.push(entry.name.clone());
            }
            let Some(value) = entry.value else { continue };
            if is_own {
                settings.own.push(entry.name.clone());
            }
            settings.all.insert(entry.name, value);
        }
        settings
    }
}

/// The settings of a topic or of a broker.
pub(super) async fn describe(client: &ClientConfig, what: ResourceSpecifier<'_>) -> anyhow::Result<ConfigResource> {
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let described = admin(client)?.describe_configs([&what], &options).await?;
    described.into_iter().next().context("no answer")?.map_err(|code| anyhow::anyhow!("{code}"))
}

/// A client for requests that read or change the cluster's configuration.
pub fn admin(client: &ClientConfig) -> anyhow::Result<Detached<AdminClient<LogContext>>> {
    client.create_with_context(LogContext).context("cannot create a Kafka client")
}

fn bytes(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
