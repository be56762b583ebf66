//! The command `devstack`: the local stack for humans (`dev`) and for test runs (`exec`).

mod cli;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Private, real Kafka, PostgreSQL and Redis servers, for development and tests.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the servers and both services, says how to try them; Ctrl-C ends all of it.
    Dev(cli::dev::Dev),
    /// Runs a command beside servers of its own, whose addresses are in its variable DEVSTACK.
    Exec {
        /// What the servers are.
        #[arg(long, env = "DEVSTACK_SERVERS", default_value = "processes")]
        servers: cli::exec::Servers,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Sends a file of events (JSON lines, gzipped or not) through a running system, twice, and
    /// checks what must hold then.
    Replay {
        /// The file.
        file: PathBuf,
        /// At most this many lines.
        #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
        lines: usize,
        #[command(flatten)]
        running: cli::replay::Running,
    },
    /// Looks through all that was logged in the last test run, for what must not be.
    Logs,
    /// Rewrites the table of docs/settings.md from the `--help` of both services.
    Settings,
    /// Prints a token: a good one, or one that has to be refused.
    Token(cli::token::Token),
    /// Makes a key pair to sign tokens with, and the JWKS to check them with, or adds it to one.
    Keys {
        /// What it is for.
        #[arg(long, default_value = "ES256", value_parser = cli::token::ALGORITHMS)]
        algorithm: String,
        /// Its name, which no other key of the JWKS has.
        #[arg(long, default_value = "dev")]
        kid: String,
        /// Where the private key goes (PKCS #8 in PEM); a file that is not there yet.
        #[arg(long)]
        key: PathBuf,
        /// The JWKS: made, or given one key more.
        #[arg(long)]
        jwks: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Dev(dev) => cli::dev::run(&dev),
        Command::Exec { servers, command } => cli::exec::run(servers, &command),
        Command::Replay { file, lines, running } => cli::replay::run(&file, lines, &running),
        Command::Logs => devstack::logs::look_through().map(|said| {
            println!("{said}");
            ExitCode::SUCCESS
        }),
        Command::Settings => devstack::settings_page::renewed().and_then(|(file, page)| {
            std::fs::write(file, page)?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Token(token) => token.make().map(|token| {
            println!("{token}");
            ExitCode::SUCCESS
        }),
        Command::Keys { algorithm, kid, key, jwks } => {
            devstack::token::generate(&algorithm, &kid, &key, &jwks).map(|()| ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("devstack: {error:#}");
        ExitCode::FAILURE
    })
}
