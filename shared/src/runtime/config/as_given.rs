//! Parsers that tolerate typical values of environment variables: a mounted file ends with a line feed, a template
//! leaves spaces or nothing at all, and enumerations may be in capitals.
//!
//! Every setting with an environment variable uses one of these; a test in each service checks this for clap's list of
//! settings.

use std::ffi::OsStr;

use clap::builder::{
    BoolishValueParser, EnumValueParser, OsStringValueParser, PossibleValue, StringValueParser, TypedValueParser,
    ValueParserFactory,
};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error, ValueEnum};

use super::Secret;

/// A parser that first trims whitespace around the value, and ignores the case of enumerated values. The error for an
/// empty value names its variable.
#[derive(Debug, Clone)]
pub struct Trimmed<P>(P);

/// The same parser, for the trimmed value.
pub const fn trimmed<P: TypedValueParser>(parser: P) -> Trimmed<P> {
    Trimmed(parser)
}

/// Any text that is not empty.
pub fn text() -> Trimmed<StringValueParser> {
    Trimmed(StringValueParser::new())
}

/// `true` and `false`, `yes` and `no`, `on` and `off`, `1` and `0`.
pub fn yes_or_no() -> Trimmed<BoolishValueParser> {
    Trimmed(BoolishValueParser::new())
}

/// A value of an enumeration.
pub fn one_of<E: ValueEnum + Clone + Send + Sync + 'static>() -> Trimmed<EnumValueParser<E>> {
    Trimmed(EnumValueParser::new())
}

/// A parser for OpenTelemetry settings, for which an empty variable counts as not set, and a wrong value does not stop
/// the start: it returns any value, trimmed. A value that is not UTF-8 becomes an invalid text.
pub fn foreign() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|value| value.to_string_lossy().trim().to_owned())
}

/// The same for a secret.
pub fn foreign_secret() -> impl TypedValueParser<Value = Secret> {
    foreign().map(|text| Secret::new(&text))
}

impl<P: TypedValueParser> TypedValueParser for Trimmed<P> {
    type Value = P::Value;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<P::Value, Error> {
        // The inner parser reports a value that is not UTF-8.
        let trimmed = value.to_str().map_or(value, |text| OsStr::new(text.trim()));
        if trimmed.is_empty() {
            return Err(empty(command, arg));
        }
        let in_any_case = arg.map(|arg| arg.clone().ignore_case(true));
        self.0.parse_ref(command, in_any_case.as_ref(), trimmed)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

fn empty(command: &Command, arg: Option<&Arg>) -> Error {
    let variable = arg.and_then(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
    let name = variable.or_else(|| arg.map(|arg| arg.get_id().to_string())).unwrap_or_default();
    let message = format!("{name} is empty: set it, or leave it out\n");
    Error::raw(ErrorKind::InvalidValue, message).with_cmd(command)
}

/// Parses a secret: removes only line feeds at its end, as files have; spaces may be a part of it.
#[derive(Debug, Clone)]
pub struct SecretParser;

impl ValueParserFactory for Secret {
    type Parser = SecretParser;

    fn value_parser() -> SecretParser {
        SecretParser
    }
}

impl TypedValueParser for SecretParser {
    type Value = Secret;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Secret, Error> {
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() { Err(empty(command, arg)) } else { Ok(Secret::new(text)) }
    }
}
