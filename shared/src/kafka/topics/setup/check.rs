//! Checks the settings of the topics. Both topics are checked before anything is changed, so that a failing `setup`
//! changes neither.

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use tokio::time::{Instant, sleep};

use super::{APPEAR_TIMEOUT, ASK_AGAIN, TopicCompression, TopicShape};
use crate::kafka::client::reach;
use crate::kafka::topics::settings::{
    CLEANUP_POLICY, COMPRESSION, Fault, LOG_APPEND_TIME, Role, TIMESTAMP_TYPE, TopicSettings, admin,
};
use crate::kafka::{ADMIN_TIMEOUT, TopicConfig};

struct CheckedTopic<'a> {
    topic: &'a str,
    role: Role,
    settings: TopicSettings,
}

/// Checks the settings of the topics that exist already, before anything is changed.
pub async fn check_present(client: &ClientConfig, topics: &TopicConfig, shape: &TopicShape) -> anyhow::Result<()> {
    shape.check()?;
    let present = reach(client).await?.topics;
    let mut found = Vec::new();
    for (topic, role) in both(topics).into_iter().filter(|(topic, _)| present.contains(*topic)) {
        let settings = TopicSettings::of(client, topic).await.context(SKIP)?;
        found.push(CheckedTopic { topic, role, settings });
    }
    all_good(&wrong(&found, shape, brokers(client)))
}

/// Checks the settings of both topics. It corrects only `message.timestamp.type`, and only if all other settings are
/// right: changing some of those deletes records.
pub async fn check(client: &ClientConfig, topics: &TopicConfig, shape: &TopicShape) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for (topic, role) in both(topics) {
        let settings = settings_of_new(client, topic).await.context(SKIP)?;
        found.push(CheckedTopic { topic, role, settings });
    }
    all_good(&wrong(&found, shape, brokers(client)))?;
    for CheckedTopic { topic, role, settings } in &found {
        let Some(fault) = clock(settings, *role) else { continue };
        if let Err(error) = mend(client, topic).await {
            let why = format!(" (it cannot be changed here: {error:#})");
            return all_good(&[told(topic, &fault, &why, brokers(client))]);
        }
        let (setting, found, now) = (fault.setting, fault.found.as_str(), fault.good.as_str());
        tracing::warn!(topic, setting, found, now, "changed a setting of the topic");
    }
    Ok(())
}

const SKIP: &str = "cannot check the topics (`--skip-topics` leaves this out)";

fn both(topics: &TopicConfig) -> [(&str, Role); 2] {
    [(&topics.input, Role::Input), (&topics.dlq, Role::DeadLetters)]
}

fn brokers(client: &ClientConfig) -> &str {
    client.get("bootstrap.servers").unwrap_or_default()
}

fn all_good(wrong: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(
        wrong.is_empty(),
        "topics have settings that lose events. Read each one before you run its command, because some changes delete \
         records; or leave them as they are with `--skip-topics`:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

fn told(topic: &str, fault: &Fault, why: &str, brokers: &str) -> String {
    format!("{topic}: {fault}{why}\n  {}", fault.command(brokers, topic))
}

/// The fault that this module corrects.
fn clock(settings: &TopicSettings, role: Role) -> Option<Fault> {
    // This fault does not depend on the number of replicas.
    settings.faults(role, 1, None).into_iter().find(|fault| fault.setting == TIMESTAMP_TYPE)
}

/// The faults that this module does not correct.
fn wrong(found: &[CheckedTopic<'_>], shape: &TopicShape, brokers: &str) -> Vec<String> {
    let input = found.iter().find(|found| found.role == Role::Input).map(|found| &found.settings);
    let mut wrong = Vec::new();
    for CheckedTopic { topic, role, settings } in found {
        let other = input.filter(|_| *role != Role::Input);
        let can_mend = kept(settings);
        // The settings after the correction.
        let settings = match &can_mend {
            Ok(()) => settings.clone().with(TIMESTAMP_TYPE, LOG_APPEND_TIME),
            Err(_) => settings.clone(),
        };
        for fault in settings.faults(*role, shape.min_insync_replicas, other) {
            let why = match &can_mend {
                _ if fault.setting == CLEANUP_POLICY => {
                    " (let the workers read to the end first: the change deletes records that are older than the \
                     retention)"
                        .to_owned()
                }
                Err(error) if fault.setting == TIMESTAMP_TYPE => format!(" (it cannot be changed here: {error:#})"),
                _ if fault.setting != COMPRESSION => String::new(),
                _ if shape.compression == TopicCompression::Producer => continue,
                _ => " (TOPIC_COMPRESSION=producer accepts it)".to_owned(),
            };
            wrong.push(told(topic, &fault, &why, brokers));
        }
    }
    wrong
}

/// Fails if the brokers hide the value of one of the topic's own settings: the client can only replace all settings of
/// a topic, so a hidden one would be lost.
fn kept(settings: &TopicSettings) -> anyhow::Result<()> {
    let unreported = &settings.unreported;
    anyhow::ensure!(
        unreported.is_empty(),
        "Kafka does not return the values of some of the topic's own settings: {}",
        unreported.join(", ")
    );
    Ok(())
}

/// Sets `message.timestamp.type` to the broker's clock, together with the topic's own settings at this moment.
async fn mend(client: &ClientConfig, topic: &str) -> anyhow::Result<()> {
    let now = TopicSettings::of(client, topic).await?;
    kept(&now)?;
    let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    for (name, value) in now.own() {
        change = change.set(name, value);
    }
    change = change.set(TIMESTAMP_TYPE, LOG_APPEND_TIME);
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let changed = admin(client)?.alter_configs(&[change], &options).await?;
    changed.into_iter().next().context("no answer")?.map_err(|(_, code)| anyhow::anyhow!("{code}"))?;
    Ok(())
}

/// The settings of a topic that may have just been created: retries until the brokers know it.
async fn settings_of_new(client: &ClientConfig, topic: &str) -> anyhow::Result<TopicSettings> {
    let until = Instant::now() + APPEAR_TIMEOUT;
    loop {
        match TopicSettings::of(client, topic).await {
            Err(_) if Instant::now() < until => sleep(ASK_AGAIN).await,
            told => return told,
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigResource, ConfigSource, OwnedResourceSpecifier};

    use super::*;

    const SHAPE: TopicShape = TopicShape {
        partitions: 1,
        replication: 1,
        min_insync_replicas: 1,
        compression: TopicCompression::Uncompressed,
    };

    fn entry(name: &str, value: Option<&str>, source: ConfigSource) -> ConfigEntry {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        let is_sensitive = value.is_none();
        ConfigEntry { name, value, source, is_read_only: false, is_default: false, is_sensitive }
    }

    fn settings(entries: Vec<ConfigEntry>) -> TopicSettings {
        ConfigResource { specifier: OwnedResourceSpecifier::Topic("t".into()), entries }.into()
    }

    fn of_clock(more: Vec<ConfigEntry>) -> Vec<String> {
        let mut entries = vec![
            entry(TIMESTAMP_TYPE, Some("CreateTime"), ConfigSource::DynamicTopic),
            entry("message.timestamp.after.max.ms", Some("1000"), ConfigSource::DynamicTopic),
        ];
        entries.extend(more);
        wrong(&[CheckedTopic { topic: "t", role: Role::Input, settings: settings(entries) }], &SHAPE, "b:1")
    }

    #[test]
    fn a_setting_whose_value_is_not_told_is_not_lost_with_the_clock() {
        let known = || entry("follower.replication.throttled.replicas", Some(""), ConfigSource::DynamicTopic);
        assert!(of_clock(vec![known()]).is_empty(), "it is mended");
        let of_brokers = entry("secret.default", None, ConfigSource::DynamicDefaultBroker);
        assert!(of_clock(vec![of_brokers]).is_empty(), "it is none of the topic's own");
        let whose = entry("whose", Some("1"), ConfigSource::Unknown);
        assert_eq!(of_clock(vec![whose]).len(), 2, "it may be the topic's own");
        let found = of_clock(vec![known(), entry("vendor.secret", None, ConfigSource::DynamicTopic)]);
        let [clock, difference] = &found[..] else { panic!("{found:?}") };
        assert!(clock.starts_with("t: message.timestamp.type=CreateTime, but must be LogAppendTime"), "{clock}");
        assert!(
            clock.contains(
                "(it cannot be changed here: Kafka does not return the values of some of the topic's own settings: \
                 vendor.secret)"
            ),
            "{clock}"
        );
        assert!(clock.ends_with("--add-config message.timestamp.type=LogAppendTime"), "{clock}");
        assert!(difference.starts_with("t: message.timestamp.after.max.ms=1000"), "it counts then: {difference}");
    }

    #[test]
    fn every_setting_of_the_topics_own_goes_along() {
        let all = settings(vec![
            entry("a", Some("1"), ConfigSource::DynamicTopic),
            entry("b", Some(""), ConfigSource::DynamicTopic),
            entry("c", Some("0:1,1:2"), ConfigSource::DynamicTopic),
            entry("d", Some("4"), ConfigSource::Default),
            entry("e", Some("5"), ConfigSource::DynamicBroker),
        ]);
        assert_eq!(all.own().collect::<Vec<_>>(), [("a", "1"), ("b", ""), ("c", "0:1,1:2")]);
    }
}
