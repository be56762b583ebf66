//! Settings: environment variables, with one clap struct per concern.
//!
//! `--help` of each binary is the reference. Secrets are read as text and checked later, because clap quotes a value
//! that it cannot parse; see [`Secret`].

mod access_log;
mod as_given;
mod authorities;
mod bounds;
mod log;
mod ops;
mod traces;

pub use self::access_log::{AccessLog, AccessLogConfig};
pub use self::as_given::{foreign, foreign_secret, one_of, text, trimmed, yes_or_no};
pub use self::authorities::authorities;
pub use self::bounds::{CONNECTION_TIMEOUTS, DATABASE_CONNECTIONS, duration_in};
pub use self::log::{LogConfig, LogFormat};
pub use self::ops::OpsConfig;
pub use self::traces::{SpanConfig, TraceConfig};

use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, Command, Parser};
use secrecy::{ExposeSecret, SecretString};

use super::within::within;

/// The timeout for writing the line about a wrong setting, in case standard error is not read.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// A setting that is never shown: not by `Debug`, not by `--help`, not in an error.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a value.
    pub fn new(value: &str) -> Self {
        Self(value.to_owned().into())
    }

    /// The value, for the code that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Adds settings to a command. The command keeps its description, which the doc comment of `C` would replace.
pub fn with_args<C: Args>(command: Command) -> Command {
    let (about, long) = (command.get_about().cloned(), command.get_long_about().cloned());
    C::augment_args(command).about(Resettable::from(about)).long_about(Resettable::from(long))
}

/// Reads the settings from arguments and environment. A wrong one ends the process with one clear line on standard
/// error and status 2.
pub fn read<C: Parser>() -> C {
    C::try_parse().unwrap_or_else(|error| {
        use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
        if matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion) {
            error.exit();
        }
        // There is no log yet.
        let line = one_line(&error.to_string());
        within(LAST_WORDS_TIMEOUT, move || eprintln!("{line}"));
        std::process::exit(2);
    })
}

/// clap's error message, without the usage and the advice.
fn one_line(message: &str) -> String {
    let said: Vec<_> = message
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let said = said.join(" ");
    said.split(" For more information").next().unwrap_or_default().to_owned()
}

/// A command line with only these settings, for tests.
#[cfg(test)]
#[derive(Debug, Parser)]
pub(crate) struct Only<T: clap::Args> {
    #[command(flatten)]
    pub(crate) settings: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct All {
        #[arg(long, env, hide_env_values = true)]
        broker_password: Secret,
        #[arg(long, env, value_parser = trimmed(text()))]
        brokers: String,
        #[arg(long, env, default_value = "1s", value_parser = duration_in(CONNECTION_TIMEOUTS))]
        cache_ttl: std::time::Duration,
        #[command(flatten)]
        traces: TraceConfig,
    }

    const MARK: &str = "planted-7f3a";

    fn args(more: &[&str]) -> Vec<String> {
        let mut args = vec![
            "test".into(),
            "--brokers=127.0.0.1:1".into(),
            format!("--broker-password={MARK}"),
            format!("--otel-exporter-otlp-endpoint=http://u:{MARK}@h"),
            format!("--otel-exporter-otlp-headers=authorization={MARK}"),
        ];
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        args
    }

    #[test]
    fn a_secret_shows_nowhere() {
        let all = All::try_parse_from(args(&[])).unwrap();
        assert_eq!(all.broker_password.expose(), MARK);
        assert!(!format!("{all:?}").contains(MARK));
        let wrong = All::try_parse_from(args(&["--cache-ttl=soon"])).unwrap_err().to_string();
        assert!(!wrong.contains(MARK));
    }

    #[test]
    fn a_wrong_setting_is_one_clear_line() {
        let line = |more: &[&str]| one_line(&All::try_parse_from(args(more)).unwrap_err().to_string());
        let wrong = line(&["--cache-ttl=soon"]);
        assert!(wrong.starts_with("error: invalid value 'soon' for '--cache-ttl <CACHE_TTL>'"), "{wrong}");
        assert_eq!(wrong.lines().count(), 1);
        let missing = one_line(&All::try_parse_from(["test"]).unwrap_err().to_string());
        assert!(missing.contains("--brokers <BROKERS>"), "{missing}");
        assert_eq!(missing.lines().count(), 1);
    }
}
