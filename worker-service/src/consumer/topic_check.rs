//! Looks whether the topics still have the settings that the promises need, and says where one does not. It changes
//! nothing, and nothing waits for it: an operator may have a reason.

use std::time::Duration;

use rdkafka::ClientConfig;
use shared::kafka::TopicConfig;
use shared::kafka::topics::settings::{Role, TopicSettings};

use crate::consumer::handler::Retention;
use crate::consumer::health::GroupHealth;

/// How soon it looks again where the brokers did not say.
const AGAIN: Duration = Duration::from_secs(30);
/// What `min.insync.replicas` has to be, so that an acknowledgement is more than one disk's word.
const MIN_INSYNC: i32 = 2;

/// Who looks.
pub struct TopicWatch {
    client: ClientConfig,
    topics: TopicConfig,
    retention: Option<Retention>,
    health: GroupHealth,
    /// What was last said, and whether the brokers answered.
    said: Option<Result<Vec<String>, String>>,
}

impl TopicWatch {
    /// On these topics.
    pub fn new(client: ClientConfig, topics: TopicConfig, retention: Option<Retention>, health: GroupHealth) -> Self {
        Self { client, topics, retention, health, said: None }
    }

    /// Looks again and again, for ever.
    pub async fn run(mut self, every: Duration) {
        loop {
            let is_answered = matches!(self.said, Some(Ok(_)));
            tokio::time::sleep(if is_answered { every } else { AGAIN.min(every) }).await;
            self.look().await;
        }
    }

    /// Looks once, and says what is new.
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

/// A record that is read again after its event's row is gone is a new event.
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
