//! The commands of the domains.

use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, Error, FromArgMatches, Subcommand};
use shared::runtime::config::{LogConfig, with_args};

use crate::consumer::registry::OperatorCommand;
use crate::domains;

/// A command that a domain brings.
#[derive(Debug, Clone)]
pub struct DomainCommand {
    pub command: Arc<dyn OperatorCommand>,
    pub log: LogConfig,
}

impl Subcommand for DomainCommand {
    fn augment_subcommands(command: Command) -> Command {
        let commands = domains::registry().commands;
        command.subcommands(commands.into_iter().map(|spec| with_args::<LogConfig>(spec.command)))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        domains::registry().commands.iter().any(|spec| spec.command.get_name() == name)
    }
}

impl FromArgMatches for DomainCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let missing = || Error::raw(ErrorKind::MissingSubcommand, "a command is missing\n");
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let commands = domains::registry().commands;
        let spec = commands.iter().find(|spec| spec.command.get_name() == name).ok_or_else(missing)?;
        Ok(Self { command: (spec.read)(matches)?, log: LogConfig::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
