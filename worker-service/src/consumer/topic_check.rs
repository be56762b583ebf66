//! Checks whether the topics still have the settings that the delivery guarantees need, and warns about those that do
//! not. It changes nothing and holds nothing up, because an operator may have a reason.

use std::time::Duration;

use rdkafka::ClientConfig;
use shared::kafka::TopicConfig;
use shared::kafka::topics::settings::{Role, TopicSettings};

use crate::consumer::handler::Retention;
use crate::consumer::health::GroupHealth;

/// When to check again if the brokers did not answer.
const AGAIN: Duration = Duration::from_secs(30);
/// The least `min.insync.replicas`, so that an acknowledged event exists on more than one disk.
const MIN_INSYNC: i32 = 2;

/// Checks the topics of a group.
pub struct TopicWatch {
    client: ClientConfig,
    topics: TopicConfig,
    retention: Option<Retention>,
    health: GroupHealth,
    /// The result of the last check: the warnings, or why the brokers did not answer.
    said: Option<Result<Vec<String>, String>>,
}

impl TopicWatch {
    /// Watches these topics.
    pub fn new(client: ClientConfig, topics: TopicConfig, retention: Option<Retention>, health: GroupHealth) -> Self {
        Self { client, topics, retention, health, said: None }
    }

    /// Checks at an interval, for ever. Waits before the first check.
    pub async fn run(mut self, every: Duration) {
        loop {
            let is_answered = matches!(self.said, Some(Ok(_)));
            tokio::time::sleep(if is_answered { every } else { AGAIN.min(every) }).await;
            self.look().await;
        }
    }

    /// Checks once, and logs what changed.
    pub async fn look(&mut self) {
        let found = self.warnings().await.map_err(|error| format!("{error:#}"));
        let is_new = self.said.as_ref() != Some(&found);
        let group = self.health.group();
        match &found {
            Ok(warnings) => {
                for warning in warnings.iter().filter(|_| is_new) {
                    tracing::warn!(group, warning, "a topic has a setting with which events may be lost");
                }
                if warnings.is_empty() && matches!(&self.said, Some(Ok(before)) if !before.is_empty()) {
                    tracing::info!(group, "the topics' settings are correct again");
                }
                self.health.topics(warnings.clone());
            }
            Err(error) if is_new => tracing::warn!(group, error, "cannot read the topics' settings"),
            Err(_) => {}
        }
        self.said = Some(found);
    }

    async fn warnings(&self) -> anyhow::Result<Vec<String>> {
        let input = TopicSettings::of(&self.client, &self.topics.input).await?;
        let dlq = TopicSettings::of(&self.client, &self.topics.dlq).await;
        let of = |topic: &str, role, settings: &TopicSettings, other| {
            let faults = settings.faults(role, MIN_INSYNC, other);
            faults.into_iter().map(|fault| format!("{topic}: {fault}")).collect::<Vec<_>>()
        };
        let mut warnings = of(&self.topics.input, Role::Input, &input, None);
        warnings.extend(self.retention.and_then(|retention| kept_too_long(&self.topics.input, &input, retention)));
        match dlq {
            Ok(dlq) => warnings.extend(of(&self.topics.dlq, Role::DeadLetters, &dlq, Some(&input))),
            Err(error) if warnings.is_empty() => return Err(error),
            Err(error) => warnings.push(format!("{}: cannot read its settings: {error:#}", self.topics.dlq)),
        }
        Ok(warnings)
    }
}

/// A record that is read again after its event's row has expired counts as a new event.
fn kept_too_long(topic: &str, settings: &TopicSettings, retention: Retention) -> Option<String> {
    let told = settings.get("retention.ms")?;
    if settings.retention().is_some_and(|kept| kept < retention.period) {
        return None;
    }
    let Retention { setting, period } = retention;
    let rows = period.as_millis();
    Some(format!(
        "{topic}: retention.ms={told}, but must be less than {setting} ({rows} ms): a replay may apply an event twice"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_for_longer_than_records() {
        let week = Retention { setting: "EVENTS_RETENTION", period: Duration::from_secs(7 * 24 * 3600) };
        let with = |retention| kept_too_long("t", &TopicSettings::default().with("retention.ms", retention), week);
        assert_eq!(with("604799999"), None);
        for retention in ["604800000", "-1"] {
            let told = with(retention).unwrap();
            assert!(
                told.starts_with(&format!("t: retention.ms={retention}, but must be less than EVENTS_RETENTION")),
                "{told}"
            );
        }
        assert_eq!(kept_too_long("t", &TopicSettings::default(), week), None, "it is not told");
    }
}
