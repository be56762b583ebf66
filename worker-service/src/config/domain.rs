//! What domains bring to the command line: settings of `run`, and commands of their own.

use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Subcommand};
use shared::runtime::config::LogConfig;

use crate::consumer::registry::{OperatorCommand, Settings};
use crate::domains;

/// The settings of `run` that domains bring.
#[derive(Debug, Clone)]
pub struct DomainSettings(pub Settings);

impl Args for DomainSettings {
    fn augment_args(command: Command) -> Command {
        domains::registry().settings.iter().fold(command, |command, settings| (settings.augment)(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DomainSettings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Settings::read(&domains::registry().settings, matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A command that a domain brings.
#[derive(Debug, Clone)]
pub struct DomainCommand {
    /// What it does.
    pub command: Arc<dyn OperatorCommand>,
    /// The log, on standard error.
    pub log: LogConfig,
}

impl Subcommand for DomainCommand {
    fn augment_subcommands(command: Command) -> Command {
        let commands = domains::registry().commands;
        command.subcommands(commands.into_iter().map(|spec| LogConfig::augment_args(spec.command)))
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
