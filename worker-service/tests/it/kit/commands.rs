//! The operators' commands: in this process, and as the binary.

use std::process::Stdio;

use clap::Parser as _;
use shared::devices::RESOURCE;
use worker_service::config::{Cli, Command, DlqCommand};
use worker_service::consumer::seek::{self, AfterRestore, Moved};
use worker_service::dead_letters::redrive::Summary;

use crate::prelude::*;

impl Kit {
    /// Runs the binary with a command of an operator's, and this test's settings.
    pub(crate) async fn command(&self, args: &[&str]) -> Said {
        self.command_into(args, Stdio::piped()).await
    }

    /// The same where nobody reads its standard output.
    pub(crate) async fn unheard(&self, args: &[&str]) -> Said {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        self.command_into(args, writer.into()).await
    }

    /// The same; gives with it what the command held in memory at most, in MiB.
    pub(crate) async fn measured(&self, args: &[&str]) -> (Said, usize) {
        let mut command = self.binary(args);
        let run = move || {
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let status = format!("/proc/{}/status", child.id());
            let ending = std::thread::spawn(move || child.wait_with_output().unwrap());
            let mut most = 0;
            while !ending.is_finished() {
                // Without this line it has ended.
                let peak = std::fs::read_to_string(&status).unwrap_or_default();
                let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
                most = peak.map_or(most, |peak| peak.parse::<usize>().unwrap() / 1024);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            (Said::of(ending.join().unwrap()), most)
        };
        blocking(run).await
    }

    /// Runs the binary with a command and this for its standard output.
    pub(crate) async fn command_into(&self, args: &[&str], out: Stdio) -> Said {
        let mut command = self.binary(args);
        command.stdout(out).stderr(Stdio::piped());
        let run = move || command.spawn().unwrap().wait_with_output().unwrap();
        Said::of(blocking(run).await)
    }

    fn binary(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_worker-service"));
        command.args(args).envs(self.scope.env()).env("REDIS_TIMEOUT", "2s");
        command
    }

    pub(crate) async fn list(&self, more: &[&str]) -> Vec<serde_json::Value> {
        let mut args = vec!["dlq", "list", "--json"];
        args.extend(more);
        let Command::Dlq { command: DlqCommand::List(config) } = self.parse(&args, &["kafka", "database"]) else {
            panic!()
        };
        let mut out = Vec::new();
        worker_service::dead_letters::list::run(&config.command, &config.source.0, &mut out).await.unwrap();
        lines(&out)
    }

    /// `dlq list --json`, where these groups read the topic, too.
    pub(crate) async fn list_beside(&self, groups: &[&str]) -> Vec<serde_json::Value> {
        let args = ["dlq", "list", "--json"];
        let Command::Dlq { command: DlqCommand::List(mut config) } = self.parse(&args, &["kafka", "database"]) else {
            panic!()
        };
        config.source.0.other_groups = groups.iter().map(|&group| group.to_owned()).collect();
        let mut out = Vec::new();
        worker_service::dead_letters::list::run(&config.command, &config.source.0, &mut out).await.unwrap();
        lines(&out)
    }

    pub(crate) async fn show(&self, partition: i32, offset: i64) -> anyhow::Result<serde_json::Value> {
        let place = [partition.to_string(), offset.to_string()];
        let args = ["dlq", "show", &place[0], &place[1], "--json"];
        let Command::Dlq { command: DlqCommand::Show(config) } = self.parse(&args, &["kafka"]) else { panic!() };
        let mut out = Vec::new();
        worker_service::dead_letters::show::run(&config.command, &config.source.0, &mut out).await?;
        Ok(lines(&out).remove(0))
    }

    /// `dlq redrive --json`, and what it says; settings that are given here count.
    pub(crate) async fn redrive(&self, more: &[&str]) -> anyhow::Result<(Summary, Vec<serde_json::Value>)> {
        let mut args = vec!["dlq", "redrive", "--json"];
        args.extend(more);
        let Command::Dlq { command: DlqCommand::Redrive(config) } =
            self.parse(&args, &["kafka", "database", "redis", "cache"])
        else {
            panic!()
        };
        let mut out = Vec::new();
        let summary =
            worker_service::dead_letters::redrive::run(&config.command, &config.source.0, &[&RESOURCE], &mut out)
                .await?;
        Ok((summary, lines(&out)))
    }

    pub(crate) async fn seek(&self, to: time::OffsetDateTime, more: &[&str]) -> anyhow::Result<(Vec<Moved>, String)> {
        let to = shared::runtime::rfc3339::format(to);
        let mut args = vec!["seek", "--to-time", &to];
        args.extend(more);
        self.seek_by(&args, &[]).await
    }

    pub(crate) async fn seek_to_beginning(&self) -> anyhow::Result<(Vec<Moved>, String)> {
        self.seek_by(&["seek", "--from-beginning"], &[]).await
    }

    /// The same where domains have this to do then.
    pub(crate) async fn seek_by(&self, args: &[&str], hooks: &[AfterRestore]) -> anyhow::Result<(Vec<Moved>, String)> {
        let Command::Seek(config) = self.parse(args, &["kafka", "database", "redis", "cache"]) else { panic!() };
        let mut out = Vec::new();
        let moved = seek::run(&config.command, &config.source.0, &[&RESOURCE], hooks, &mut out).await?;
        Ok((moved, String::from_utf8(out)?))
    }

    pub(crate) async fn erase(&self, device: &str, more: &[&str]) -> anyhow::Result<String> {
        let mut args = vec!["erase", device];
        args.extend(more);
        let Command::Domain(config) = self.parse(&args, &["kafka", "database", "redis", "cache"]) else { panic!() };
        let mut out = Vec::new();
        config.command.run(&mut out).await?;
        Ok(String::from_utf8(out)?)
    }

    pub(super) fn parse(&self, args: &[&str], settings: &[&str]) -> Command {
        let given = |flag: &str| args.iter().any(|arg| arg.starts_with(flag));
        let mut all = vec!["worker-service".to_owned()];
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        // A command that joins no group knows none.
        let has_group = args.first() != Some(&"erase");
        let env = self.scope.env().into_iter().filter(|(name, _)| has_group || name != "KAFKA_GROUP");
        for (name, value) in env {
            let flag = format!("--{}=", name.to_ascii_lowercase().replace('_', "-"));
            if settings.iter().any(|wanted| flag.starts_with(&format!("--{wanted}-"))) && !given(&flag) {
                all.push(format!("{flag}{value}"));
            }
        }
        Cli::try_parse_from(all).unwrap().command
    }
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

fn lines(out: &[u8]) -> Vec<serde_json::Value> {
    std::str::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
