//! The groups and topics of all registered handlers, and the other settings of domains: each domain declares its own.

use std::collections::HashMap;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use shared::kafka::{StreamSpec, TopicConfig};

use crate::consumer::registry::Settings;
use crate::domains;
use crate::source::{HandlerSpec, Source};

fn handlers() -> Vec<HandlerSpec> {
    domains::registry().handlers.iter().map(|handler| handler.spec).collect()
}

/// Each stream once, even if several handlers read it.
fn streams(handlers: &[HandlerSpec]) -> Vec<StreamSpec> {
    let mut streams: Vec<StreamSpec> = Vec::new();
    for HandlerSpec { stream, .. } in handlers {
        if streams.iter().all(|known| known.name != stream.name) {
            streams.push(*stream);
        }
    }
    streams
}

fn augment_streams(command: Command, handlers: &[HandlerSpec]) -> Command {
    streams(handlers).iter().fold(command, |command, stream| stream.augment(command))
}

fn augment_groups(command: Command, handlers: &[HandlerSpec]) -> Command {
    handlers.iter().fold(command, |command, handler| handler.group.augment_as_group(command))
}

/// The argument that chooses one of several handlers.
fn handler_arg(handlers: &[HandlerSpec], help: &'static str) -> Arg {
    let names = PossibleValuesParser::new(handlers.iter().map(|handler| handler.name));
    Arg::new("handler").long("handler").value_name("NAME").help(help).value_parser(names)
}

/// What `--handler` means to a command that works on one handler.
const ONE_OF_SEVERAL: &str = "The handler; required if there are several";

/// Checks that no two of these variables have the same value.
fn all_differ<'a>(what: &str, named: impl Iterator<Item = (&'static str, &'a str)>) -> Result<(), Error> {
    let mut seen = HashMap::new();
    for (variable, name) in named {
        if let Some(other) = seen.insert(name, variable) {
            let said = format!("{other} and {variable} are the same {what}, {name}: set two\n");
            return Err(Error::raw(ErrorKind::ArgumentConflict, said));
        }
    }
    Ok(())
}

/// Reads the topics of these streams, which must differ.
fn read_topics(streams: &[StreamSpec], matches: &ArgMatches) -> Result<Vec<TopicConfig>, Error> {
    let read: Vec<_> = streams.iter().map(|stream| stream.read(matches)).collect::<Result<_, _>>()?;
    let named = streams.iter().zip(&read).flat_map(|(stream, topics): (_, &TopicConfig)| {
        [(stream.topic.variable, topics.input.as_str()), (stream.dead_letters.variable, topics.dlq.as_str())]
    });
    all_differ("topic", named)?;
    Ok(read)
}

/// Reads the groups of these handlers, which must differ.
fn read_groups(handlers: &[HandlerSpec], matches: &ArgMatches) -> Result<Vec<String>, Error> {
    let groups: Vec<_> = handlers.iter().map(|handler| handler.group.read(matches)).collect();
    all_differ("group", handlers.iter().map(|handler| handler.group.variable).zip(groups.iter().map(String::as_str)))?;
    Ok(groups)
}

fn read_sources(handlers: &[HandlerSpec], matches: &ArgMatches) -> Result<Vec<Source>, Error> {
    let streams = streams(handlers);
    let names = streams.iter().map(|stream| stream.name);
    let topics: HashMap<_, _> = names.zip(read_topics(&streams, matches)?).collect();
    let groups = read_groups(handlers, matches)?;
    let source = |(handler, group): (&HandlerSpec, &String)| {
        let read_the_same = handlers.iter().zip(&groups).filter(|(other, _)| other.stream.name == handler.stream.name);
        let other_groups = read_the_same.map(|(_, other)| other).filter(|other| *other != group).cloned().collect();
        let topics = topics.get(handler.stream.name)?.clone();
        Some(Source { handler: *handler, group: group.clone(), topics, other_groups })
    };
    Ok(handlers.iter().zip(&groups).filter_map(source).collect())
}

/// What belongs to the handler that `--handler` names, or to the only one; `all` has one item for each handler.
fn choose<T>(handlers: &[HandlerSpec], matches: &ArgMatches, all: Vec<T>) -> Result<T, Error> {
    let missing = |message| Error::raw(ErrorKind::MissingRequiredArgument, message);
    let named = matches.get_one::<String>("handler");
    if named.is_none() && handlers.len() > 1 {
        let names: Vec<_> = handlers.iter().map(|handler| handler.name).collect();
        let message = format!("there are several handlers, {}: choose one with --handler\n", names.join(", "));
        return Err(missing(message));
    }
    let mut chosen = handlers.iter().zip(all).filter(|(handler, _)| is_chosen(handler, named));
    chosen.next().map(|(_, item)| item).ok_or_else(|| missing("there is no handler\n".to_owned()))
}

/// Whether `--handler` names this one, or none.
fn is_chosen(handler: &HandlerSpec, named: Option<&String>) -> bool {
    named.is_none_or(|named| handler.name == named)
}

/// The sources of all handlers.
#[derive(Debug, Clone)]
pub struct Sources(pub Vec<Source>);

/// The source of the handler that is named, or those of all.
#[derive(Debug, Clone)]
pub struct NamedSources(pub Vec<Source>);

/// The source of one handler.
#[derive(Debug, Clone)]
pub struct OneSource(pub Source);

/// The group of one handler.
#[derive(Debug, Clone)]
pub struct OneGroup(pub String);

/// The topics of all streams.
#[derive(Debug, Clone)]
pub struct Streams(pub Vec<TopicConfig>);

/// The settings of `run` that domains declare.
#[derive(Debug, Clone)]
pub struct DomainSettings(pub Settings);

/// A part of a command's settings that depends on the registered handlers.
trait OfHandlers: Sized {
    fn augment(command: Command, handlers: &[HandlerSpec]) -> Command;
    fn read(handlers: &[HandlerSpec], matches: &ArgMatches) -> Result<Self, Error>;
}

impl OfHandlers for Sources {
    fn augment(command: Command, handlers: &[HandlerSpec]) -> Command {
        augment_groups(augment_streams(command, handlers), handlers)
    }

    fn read(handlers: &[HandlerSpec], matches: &ArgMatches) -> Result<Self, Error> {
        read_sources(handlers, matches).map(Self)
    }
}

impl OfHandlers for NamedSources {
    fn augment(command: Command, handlers: &[HandlerSpec]) -> Command {
        let command = command.arg(handler_arg(handlers, "Only of this handler; of all if none is named"));
        augment_groups(augment_streams(command, handlers), handlers)
    }

    fn read(handlers: &[HandlerSpec], matches: &ArgMatches) -> Result<Self, Error> {
        let named = matches.get_one("handler");
        let mut sources = read_sources(handlers, matches)?;
        sources.retain(|source| is_chosen(&source.handler, named));
        Ok(Self(sources))
    }
}

impl OfHandlers for OneSource {
    fn augment(command: Command, handlers: &[HandlerSpec]) -> Command {
        let command = command.arg(handler_arg(handlers, ONE_OF_SEVERAL));
        augment_groups(augment_streams(command, handlers), handlers)
    }

    fn read(handlers: &[HandlerSpec], matches: &ArgMatches) -> Result<Self, Error> {
        choose(handlers, matches, read_sources(handlers, matches)?).map(Self)
    }
}

impl OfHandlers for OneGroup {
    fn augment(command: Command, handlers: &[HandlerSpec]) -> Command {
        augment_groups(command.arg(handler_arg(handlers, ONE_OF_SEVERAL)), handlers)
    }

    fn read(handlers: &[HandlerSpec], matches: &ArgMatches) -> Result<Self, Error> {
        choose(handlers, matches, read_groups(handlers, matches)?).map(Self)
    }
}

impl OfHandlers for Streams {
    fn augment(command: Command, handlers: &[HandlerSpec]) -> Command {
        augment_streams(command, handlers)
    }

    fn read(handlers: &[HandlerSpec], matches: &ArgMatches) -> Result<Self, Error> {
        read_topics(&streams(handlers), matches).map(Self)
    }
}

impl OfHandlers for DomainSettings {
    fn augment(command: Command, _: &[HandlerSpec]) -> Command {
        domains::registry().settings.iter().fold(command, |command, augment| augment(command))
    }

    fn read(_: &[HandlerSpec], matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self(Settings::new(matches.clone())))
    }
}

/// Implements clap's traits for the registered handlers.
macro_rules! args_of_handlers {
    ($($name:ident),*) => {$(
        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                Self::augment(command, &handlers())
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment(command, &handlers())
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
                Self::read(&handlers(), matches)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    )*};
}

args_of_handlers!(Sources, NamedSources, OneSource, OneGroup, Streams, DomainSettings);

#[cfg(test)]
mod tests {
    use shared::kafka::Setting;
    use shared::store::Once;

    use super::*;

    const fn setting(variable: &'static str, flag: &'static str, default: &'static str) -> Setting {
        Setting { variable, flag, default, help: "" }
    }

    const fn stream(name: &'static str, topic: Setting, dead_letters: Setting) -> StreamSpec {
        StreamSpec { name, topic, dead_letters, types: &[], extensions: &[], transactional: false }
    }

    const READINGS: StreamSpec = stream(
        "readings",
        setting("READINGS_TOPIC", "readings-topic", "readings"),
        setting("READINGS_DLQ", "readings-dlq", "readings-dlq"),
    );
    const ALARMS: StreamSpec = stream(
        "alarms",
        setting("ALARMS_TOPIC", "alarms-topic", "alarms"),
        setting("ALARMS_DLQ", "alarms-dlq", "alarms-dlq"),
    );

    const fn handler(name: &'static str, group: Setting, stream: StreamSpec) -> HandlerSpec {
        let once = Once::Inbox { subscriber: "" };
        HandlerSpec { name, group, stream, owner: true, types: &[], once }
    }

    /// Two handlers of one stream, and one of another stream.
    const THREE: [HandlerSpec; 3] = [
        handler("store", setting("STORE_GROUP", "store-group", "store"), READINGS),
        handler("count", setting("COUNT_GROUP", "count-group", "count"), READINGS),
        handler("ring", setting("RING_GROUP", "ring-group", "ring"), ALARMS),
    ];

    fn read<T: OfHandlers>(handlers: &[HandlerSpec], args: &[&str]) -> Result<T, String> {
        let command = T::augment(Command::new("test"), handlers);
        let all = ["test"].iter().chain(args);
        let matches = command.try_get_matches_from(all).map_err(|error| error.to_string())?;
        T::read(handlers, &matches).map_err(|error| error.to_string())
    }

    #[test]
    fn each_handler_has_its_group_and_the_topics_of_its_stream() {
        let Sources(sources) = read(&THREE, &["--count-group=c", "--alarms-topic=a"]).unwrap();
        let told = sources.iter().map(|Source { handler, group, topics, other_groups }| {
            format!("{} {group} {} {other_groups:?}", handler.name, topics.input)
        });
        let expected = [r#"store store readings ["c"]"#, r#"count c readings ["store"]"#, "ring ring a []"];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        let Streams(topics) = read(&THREE, &[]).unwrap();
        assert_eq!(topics.iter().map(|topics| topics.dlq.as_str()).collect::<Vec<_>>(), ["readings-dlq", "alarms-dlq"]);
    }

    #[test]
    fn a_command_takes_the_only_handler_or_the_one_that_is_named() {
        let OneSource(source) = read(&THREE[..1], &[]).unwrap();
        assert_eq!(source.handler.name, "store");
        let OneSource(source) = read(&THREE, &["--handler=ring"]).unwrap();
        assert_eq!((source.handler.name, source.topics.input.as_str()), ("ring", "alarms"));
        let OneGroup(group) = read(&THREE[..1], &[]).unwrap();
        assert_eq!(group, "store");
        let OneGroup(group) = read(&THREE, &["--handler=count", "--count-group=c"]).unwrap();
        assert_eq!(group, "c");
        fn refused<T: OfHandlers>(args: &[&str]) -> String {
            read::<T>(&THREE, args).err().unwrap()
        }
        for said in [refused::<OneSource>(&[]), refused::<OneGroup>(&[])] {
            assert!(
                said.contains("there are several handlers, store, count, ring: choose one with --handler"),
                "{said}"
            );
        }
        for said in [refused::<OneSource>(&["--handler=stores"]), refused::<OneGroup>(&["--handler=stores"])] {
            assert!(said.contains("store, count, ring"), "{said}");
        }
    }

    #[test]
    fn a_command_for_all_handlers_takes_one_if_it_is_named() {
        let names = |args| {
            let NamedSources(sources) = read(&THREE, args).unwrap();
            sources.iter().map(|source| source.handler.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["store", "count", "ring"]);
        assert_eq!(names(&["--handler=ring"]), ["ring"]);
        assert!(read::<NamedSources>(&THREE, &["--handler=stores"]).unwrap_err().contains("store, count, ring"));
    }

    #[test]
    fn no_two_have_the_same_group_or_topic() {
        let said = read::<OneGroup>(&THREE, &["--handler=count", "--ring-group=store"]).unwrap_err();
        assert!(said.contains("STORE_GROUP and RING_GROUP are the same group, store"), "{said}");
        for (wrong, told) in [
            ("--alarms-topic=readings", "READINGS_TOPIC and ALARMS_TOPIC"),
            ("--alarms-dlq=readings", "READINGS_TOPIC and ALARMS_DLQ"),
            ("--alarms-dlq=alarms", "ALARMS_TOPIC and ALARMS_DLQ"),
        ] {
            for said in [read::<Streams>(&THREE, &[wrong]).unwrap_err(), read::<Sources>(&THREE, &[wrong]).unwrap_err()]
            {
                assert!(said.contains(&format!("{told} are the same topic")), "{said}");
            }
        }
    }

    #[test]
    fn a_flag_is_called_as_its_variable() {
        for handler in handlers() {
            for Setting { variable, flag, .. } in [handler.group, handler.stream.topic, handler.stream.dead_letters] {
                assert_eq!(flag, variable.to_lowercase().replace('_', "-"));
            }
        }
    }
}
