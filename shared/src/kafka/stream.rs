//! A stream: the topic of a domain's events, and the topic of their dead letters. A domain declares both, with the
//! settings that name them; commands and services read the names from there.

use std::marker::PhantomData;
use std::ops::Deref;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use super::config::{group_name, topic_name};
use super::header;
use crate::runtime::config::trimmed;
use crate::runtime::unique::ensure_unique;

/// The names of the two topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// The topic of accepted events.
    pub input: String,
    /// The topic of dead letters.
    pub dlq: String,
}

/// A setting that a domain declares: an environment variable, a flag of the same name, and a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable.
    pub variable: &'static str,
    /// The flag, which is the variable's name in lower case with `-`.
    pub flag: &'static str,
    /// The default.
    pub default: &'static str,
    /// The description in `--help`.
    pub help: &'static str,
}

impl Setting {
    /// A setting: its environment variable, its flag, its default and its description.
    pub const fn new(variable: &'static str, flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { variable, flag, default, help }
    }

    fn arg(&self, parser: impl TypedValueParser<Value = String>) -> Arg {
        Arg::new(self.variable)
            .long(self.flag)
            .value_name(self.variable)
            .env(self.variable)
            .default_value(self.default)
            .help(self.help)
            .value_parser(parser)
    }

    /// The value that was given, or the default.
    pub fn read(&self, matches: &ArgMatches) -> String {
        // clap has the default too, so this fallback is never used.
        matches.get_one(self.variable).cloned().unwrap_or_else(|| self.default.to_owned())
    }

    /// Adds the name of a consumer group to a command.
    pub fn augment_as_group(&self, command: Command) -> Command {
        command.arg(self.arg(trimmed(group_name)))
    }
}

/// The declaration of a domain's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: &'static str,
    /// The topic of accepted events.
    pub topic: Setting,
    /// The topic of dead letters; must differ from the input topic.
    pub dead_letters: Setting,
    /// Every CloudEvents `type` of its events.
    pub types: &'static [&'static str],
    /// The CloudEvents extension attributes of its events, beyond those of the backbone. A record need not have them.
    pub extensions: &'static [&'static str],
    /// Whether its records are of the outbox: their producer writes them in transactions, and each has a `sequence`.
    pub transactional: bool,
}

impl StreamSpec {
    /// Adds the names of its topics to a command.
    pub fn augment(&self, command: Command) -> Command {
        command.arg(self.topic.arg(trimmed(topic_name))).arg(self.dead_letters.arg(trimmed(topic_name)))
    }

    /// Refuses extensions whose names CloudEvents does not allow, or that are attributes already.
    pub fn check_extensions(&self) -> anyhow::Result<()> {
        let Self { name: stream, extensions, .. } = self;
        ensure_unique("extensions of a stream", extensions.iter().copied())?;
        for name in *extensions {
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            anyhow::ensure!(
                is_name,
                "the stream {stream} has an extension {name:?}: use lower-case letters and digits"
            );
            let is_free = !header::ATTRIBUTES.contains(name);
            anyhow::ensure!(is_free, "the stream {stream} has an extension {name:?}, which every event has");
        }
        Ok(())
    }

    /// The names of its topics, which must differ.
    pub fn read(&self, matches: &ArgMatches) -> Result<TopicConfig, Error> {
        let (input, dlq) = (self.topic.read(matches), self.dead_letters.read(matches));
        if input == dlq {
            // A dead letter would be read as an event, and become another one.
            let (topic, dead_letters) = (self.topic.variable, self.dead_letters.variable);
            let message = format!("{topic} and {dead_letters} are the same topic, {input}: set two\n");
            return Err(Error::raw(ErrorKind::ArgumentConflict, message));
        }
        Ok(TopicConfig { input, dlq })
    }
}

/// A stream that a settings struct can name.
pub trait Stream: 'static {
    /// The stream's declaration.
    const SPEC: StreamSpec;
}

/// The names of a stream's topics, as a part of the settings of a service or a command.
#[derive(Debug, Clone)]
pub struct TopicsOf<S> {
    topics: TopicConfig,
    stream: PhantomData<S>,
}

impl<S> From<TopicConfig> for TopicsOf<S> {
    fn from(topics: TopicConfig) -> Self {
        Self { topics, stream: PhantomData }
    }
}

impl<S> Deref for TopicsOf<S> {
    type Target = TopicConfig;

    fn deref(&self) -> &TopicConfig {
        &self.topics
    }
}

impl<S: Stream> Args for TopicsOf<S> {
    fn augment_args(command: Command) -> Command {
        S::SPEC.augment(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        S::SPEC.augment(command)
    }
}

impl<S: Stream> FromArgMatches for TopicsOf<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(S::SPEC.read(matches)?.into())
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug)]
    struct Readings;

    impl Stream for Readings {
        const SPEC: StreamSpec = StreamSpec {
            name: "readings",
            topic: Setting::new("READINGS_TOPIC", "readings-topic", "readings", "The topic of readings"),
            dead_letters: Setting::new("READINGS_DLQ_TOPIC", "readings-dlq-topic", "readings-dlq", "Of dead letters"),
            types: &[],
            extensions: &[],
            transactional: false,
        };
    }

    type Topics = crate::runtime::config::Only<TopicsOf<Readings>>;

    fn topics(input: &str, dlq: &str) -> Result<TopicConfig, String> {
        let args = ["test".to_owned(), format!("--readings-topic={input}"), format!("--readings-dlq-topic={dlq}")];
        Topics::try_parse_from(args).map(|all| (*all.settings).clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_topic_has_a_name_that_kafka_takes() {
        let longest = "n".repeat(249);
        for good in ["a", "A-Z_a.z-09", "...", "__x", &longest] {
            assert_eq!(topics(good, "letters").unwrap().input, good);
            assert_eq!(topics("events", good).unwrap().dlq, good);
        }
        let too_long = "n".repeat(250);
        for bad in ["^events-.*", ".", "..", "a b", "a/b", "a:b", "é", "a,b", "a\u{0}", &too_long] {
            for (said, setting) in
                [(topics(bad, "letters"), "READINGS_TOPIC"), (topics("events", bad), "READINGS_DLQ_TOPIC")]
            {
                let said = said.unwrap_err();
                assert!(said.contains(setting) && said.contains("it must be the name of a topic"), "{bad}: {said}");
            }
        }
    }

    #[test]
    fn an_extension_has_a_name_of_its_own() {
        let said =
            |extensions| StreamSpec { extensions, ..Readings::SPEC }.check_extensions().map_err(|e| e.to_string());
        assert_eq!(said(&[]), Ok(()));
        assert_eq!(said(&["grantid", "day2"]), Ok(()));
        for (extensions, why) in [
            (&["grantid", "grantid"][..], r#"two extensions of a stream have the name "grantid""#),
            (&["grantId"], r#"an extension "grantId": use lower-case letters and digits"#),
            (&["grant_id"], "use lower-case letters and digits"),
            (&[""], "use lower-case letters and digits"),
            (&["day", "userid"], r#"an extension "userid", which every event has"#),
            (&["subject"], "which every event has"),
            (&["traceparent"], "which every event has"),
        ] {
            let refused = said(extensions).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn events_and_dead_letters_have_topics_of_their_own() {
        for same in ["a", "readings", "readings-dlq"] {
            let said = topics(same, same).unwrap_err();
            assert!(said.contains("READINGS_TOPIC and READINGS_DLQ_TOPIC are the same topic"), "{said}");
        }
        let said = Topics::try_parse_from(["test", "--readings-topic=readings-dlq"]).unwrap_err().to_string();
        assert!(said.contains("are the same topic, readings-dlq"), "the other is a default: {said}");
        assert_eq!(Topics::try_parse_from(["test"]).unwrap().settings.input, "readings");
    }
}
