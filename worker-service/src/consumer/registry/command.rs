//! A command that a domain brings.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, Error};
use futures_util::future::BoxFuture;

/// Where a command says what it did.
pub type Out<'a> = &'a mut (dyn Write + Send);

type Run = Arc<dyn for<'a> Fn(Out<'a>) -> BoxFuture<'a, anyhow::Result<()>> + Send + Sync>;

/// A command, as it is registered.
pub struct CommandSpec {
    command: Command,
    read: Box<Read>,
}

type Read = dyn Fn(&ArgMatches) -> Result<Run, Error>;

impl CommandSpec {
    /// A command with these settings.
    pub fn new<C: Args + Send + Sync + 'static>(
        command: Command,
        run: for<'a> fn(&'a C, Out<'a>) -> BoxFuture<'a, anyhow::Result<()>>,
    ) -> Self {
        let read = move |matches: &ArgMatches| {
            let config = Arc::new(C::from_arg_matches(matches)?);
            Ok(shared(move |out| {
                let config = Arc::clone(&config);
                Box::pin(async move { run(&config, out).await })
            }))
        };
        Self { command: C::augment_args(command), read: Box::new(read) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.command.get_name()
    }

    /// As clap has it.
    pub fn command(&self) -> Command {
        self.command.clone()
    }

    /// The command as it was given.
    ///
    /// # Errors
    /// Those of its settings.
    pub fn read(&self, matches: &ArgMatches) -> Result<GivenCommand, Error> {
        Ok(GivenCommand { name: self.name().to_owned(), run: (self.read)(matches)? })
    }
}

fn shared(run: impl for<'a> Fn(Out<'a>) -> BoxFuture<'a, anyhow::Result<()>> + Send + Sync + 'static) -> Run {
    Arc::new(run)
}

/// A command of a domain, with its settings.
#[derive(Clone)]
pub struct GivenCommand {
    name: String,
    run: Run,
}

impl GivenCommand {
    /// Runs it.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn run(&self, out: Out<'_>) -> anyhow::Result<()> {
        (self.run)(out).await
    }
}

impl fmt::Debug for GivenCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
