//! The command line: without a command, the service runs.

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use shared::runtime::config::with_args;
use shared::runtime::probe::HealthConfig;

use super::Config;

#[derive(Debug)]
pub enum Cli {
    Serve(Box<Config>),
    /// Ask the service that runs beside this command for its health.
    Health(HealthConfig),
}

// Not derived: a derived command with settings of its own requires them for its subcommands, too.
impl CommandFactory for Cli {
    fn command() -> Command {
        let about = "Ask the service that runs beside this command for its health; for a container's health check";
        let health = with_args::<HealthConfig>(Command::new("health").about(about));
        Config::command().subcommand(health).subcommand_negates_reqs(true).args_conflicts_with_subcommands(true)
    }

    fn command_for_update() -> Command {
        Self::command()
    }
}

impl FromArgMatches for Cli {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((_, health)) => HealthConfig::from_arg_matches(health).map(Cli::Health),
            None => Config::from_arg_matches(matches).map(|config| Cli::Serve(Box::new(config))),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Parser for Cli {}

#[cfg(test)]
mod tests {
    use shared::runtime::probe::Question;

    use super::*;

    #[test]
    fn health_needs_no_other_setting() {
        Cli::command().debug_assert();
        let Ok(Cli::Health(config)) = Cli::try_parse_from(["api", "health"]) else { panic!("health") };
        assert_eq!(config.question, Question::Live);
        let Ok(Cli::Health(config)) = Cli::try_parse_from(["api", "health", "ready"]) else { panic!("health ready") };
        assert_eq!(config.question, Question::Ready);
    }

    #[test]
    fn help_says_what_health_is_for() {
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("health  Ask the service that runs beside this command"), "{help}");
    }

    #[test]
    fn without_a_command_it_serves() {
        let all = ["api", "--kafka-brokers=b:1", "--database-url=postgres://h/d", "--redis-url=redis://h"];
        assert!(matches!(Cli::try_parse_from(all), Ok(Cli::Serve(_))));
        let missing = Cli::try_parse_from(["api"]).unwrap_err().to_string();
        assert!(missing.contains("--kafka-brokers <KAFKA_BROKERS>"), "{missing}");
    }
}
