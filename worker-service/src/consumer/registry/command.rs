//! A command that a domain brings.

use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, Error};
use futures_util::future::BoxFuture;

/// Where a command says what it did.
pub type Out<'a> = &'a mut (dyn Write + Send);

/// The settings of a command, and what it does.
pub trait OperatorCommand: Debug + Send + Sync {
    fn run<'a>(&'a self, out: Out<'a>) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// A command, as it is registered.
pub struct CommandSpec {
    /// As clap has it.
    pub command: Command,
    /// Reads its settings.
    pub read: fn(&ArgMatches) -> Result<Arc<dyn OperatorCommand>, Error>,
}

impl CommandSpec {
    /// A command with these settings.
    pub fn new<C: Args + OperatorCommand + 'static>(command: Command) -> Self {
        Self { command: C::augment_args(command), read: |matches| Ok(Arc::new(C::from_arg_matches(matches)?)) }
    }
}
