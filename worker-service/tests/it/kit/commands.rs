//! Operator commands, in this process and as the binary.

use std::process::{Command as Program, Stdio};

use clap::{CommandFactory as _, Parser as _};
use devstack::kit::with_handler;
use shared::devices::RESOURCE;
use worker_service::config::{Cli, Command, DlqCommand};
use worker_service::consumer::seek::{self, AfterRestore, Moved};
use worker_service::dead_letters::redrive::Summary;
use worker_service::dead_letters::{list, redrive, show};

use crate::prelude::*;

impl Kit {
    /// Runs the binary with a command and the settings of this test.
    pub(crate) async fn command(&self, args: &[&str]) -> Said {
        run(program(&self.scope, args)).await
    }

    /// The same for a command that succeeds; returns its output.
    pub(crate) async fn succeeds(&self, args: &[&str]) -> String {
        let said = self.command(args).await;
        assert_eq!(said.status, 0, "{said:?}");
        said.out
    }

    /// The same for a command that fails with this message; returns its whole error output.
    pub(crate) async fn fails(&self, args: &[&str], why: &str) -> String {
        let said = self.command(args).await;
        assert!(said.status == 1 && said.error.contains(why), "{why}: {said:?}");
        said.error
    }

    /// Runs the binary with a command and this standard output.
    pub(crate) async fn command_into(&self, args: &[&str], out: impl Into<Stdio>) -> Said {
        let mut command = program(&self.scope, args);
        command.stdout(out);
        run(command).await
    }

    /// The same with a standard output whose reader is closed.
    pub(crate) async fn unheard(&self, args: &[&str]) -> Said {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        self.command_into(args, writer).await
    }

    /// Runs the binary with a command; also returns its peak memory in MiB.
    pub(crate) async fn measured(&self, args: &[&str]) -> (Said, usize) {
        let mut command = program(&self.scope, args);
        let run = move || {
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let status = format!("/proc/{}/status", child.id());
            let ending = std::thread::spawn(move || child.wait_with_output().unwrap());
            let mut most = 0;
            while !ending.is_finished() {
                // A process that has ended has no such line.
                let peak = std::fs::read_to_string(&status).unwrap_or_default();
                let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
                most = peak.map_or(most, |peak| peak.parse::<usize>().unwrap() / 1024);
                std::thread::sleep(Duration::from_millis(5));
            }
            (Said::of(ending.join().unwrap()), most)
        };
        blocking(run).await
    }

    pub(crate) async fn list(&self, more: &[&str]) -> Vec<Value> {
        self.list_beside(&[], more).await
    }

    /// `dlq list --json`, if these groups read the topic, too.
    pub(crate) async fn list_beside(&self, groups: &[&str], more: &[&str]) -> Vec<Value> {
        let DlqCommand::List(mut config) = self.dlq("list", more) else { panic!() };
        config.sources.0[0].other_groups.extend(groups.iter().map(|&group| group.to_owned()));
        let mut out = Vec::new();
        list::run(&config.command, &config.sources.0, &mut out).await.unwrap();
        lines(&out)
    }

    pub(crate) async fn show(&self, partition: i32, offset: i64) -> anyhow::Result<Value> {
        let place = [partition.to_string(), offset.to_string()];
        let DlqCommand::Show(config) = self.dlq("show", &place.each_ref().map(String::as_str)) else { panic!() };
        let mut out = Vec::new();
        show::run(&config.command, &config.source.0, &mut out).await?;
        Ok(lines(&out).remove(0))
    }

    /// `dlq redrive --json`, and its output; `more` overrides the settings of the test.
    pub(crate) async fn redrive(&self, more: &[&str]) -> anyhow::Result<(Summary, Vec<Value>)> {
        let DlqCommand::Redrive(config) = self.dlq("redrive", more) else { panic!() };
        let mut out = Vec::new();
        let summary = redrive::run(&config.command, &config.source.0, &[&RESOURCE], &mut out).await?;
        Ok((summary, lines(&out)))
    }

    fn dlq(&self, name: &str, more: &[&str]) -> DlqCommand {
        let Command::Dlq { command } = parse(&self.scope, &[&["dlq", name, "--json"], more].concat()) else { panic!() };
        command
    }

    pub(crate) async fn seek(&self, to: OffsetDateTime, more: &[&str]) -> anyhow::Result<(Vec<Moved>, String)> {
        let to = format!("--to-time={}", shared::runtime::rfc3339::format(to));
        self.seek_by(&[&[to.as_str()], more].concat(), &[]).await
    }

    /// The same with these hooks of domains.
    pub(crate) async fn seek_by(&self, more: &[&str], hooks: &[AfterRestore]) -> anyhow::Result<(Vec<Moved>, String)> {
        let Command::Seek(config) = parse(&self.scope, &[&["seek"], more].concat()) else { panic!() };
        let mut out = Vec::new();
        let moved = seek::run(&config.command, &config.source.0, &[&RESOURCE], hooks, &mut out).await?;
        Ok((moved, String::from_utf8(out)?))
    }

    pub(crate) async fn erase(&self, device: &str, more: &[&str]) -> anyhow::Result<String> {
        let Command::Domain(config) = parse(&self.scope, &[&["erase", device], more].concat()) else { panic!() };
        let mut out = Vec::new();
        config.command.run(&mut out).await?;
        Ok(String::from_utf8(out)?)
    }
}

/// A parsed command, with those settings of the test that it knows and `args` does not give.
pub(crate) fn parse(scope: &Scope, args: &[&str]) -> Command {
    let command = args.iter().fold(Cli::command(), |all, name| all.find_subcommand(name).cloned().unwrap_or(all));
    let args = &with_handler(args)[..];
    let mut all = vec!["worker-service".to_owned()];
    all.extend(args.iter().map(|&arg| arg.to_owned()));
    for (name, value) in scope.env() {
        let name = name.to_ascii_lowercase().replace('_', "-");
        let is_given = args.iter().any(|arg| arg.starts_with(&format!("--{name}=")));
        if !is_given && command.get_arguments().any(|known| known.get_long() == Some(&name)) {
            all.push(format!("--{name}={value}"));
        }
    }
    Cli::try_parse_from(all).unwrap().command
}

/// The binary with a command and the settings of a test.
pub(crate) fn program(scope: &Scope, args: &[&str]) -> Program {
    let mut program = Program::new(env!("CARGO_BIN_EXE_worker-service"));
    program.args(with_handler(args)).envs(scope.env()).env("REDIS_TIMEOUT", "2s");
    program
}

pub(crate) async fn run(mut program: Program) -> Said {
    Said::of(blocking(move || program.output().unwrap()).await)
}

#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Said {
    fn of(output: std::process::Output) -> Self {
        Self {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn lines(out: &[u8]) -> Vec<Value> {
    std::str::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
