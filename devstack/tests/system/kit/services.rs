//! The services of a system.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use devstack::kit::{Api, Running, with_handler};
use devstack::{LogReader, Program, Scope, Service};

use super::{SECRET, System, TEST_TIMEOUT, blocking, owned};

impl System {
    pub(crate) fn another_api(&self) -> Api {
        self.another_api_with(&[])
    }

    pub(crate) fn another_api_with(&self, more: &[(&str, &str)]) -> Api {
        spawn_api(&self.scope, &self.with(more), &self.log_of("api"))
    }

    /// An API whose log goes through a pipe that `reader` reads or leaves.
    pub(crate) fn api_read_by(&self, reader: &LogReader, more: &[(&str, &str)]) -> Api {
        let log = self.log_of("api");
        let env = api_env(&self.scope, &self.with(more));
        Api::start(env, |env| Service::spawn_read_by(reader, Program::Api, &[], env, &log))
    }

    /// A new log file for one more process.
    fn log_of(&self, what: &str) -> PathBuf {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.logs.join(format!("{what}-{number}.log"))
    }

    fn with(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        self.settings.iter().cloned().chain(owned(more)).collect()
    }

    pub(crate) fn worker(&self) -> Running {
        self.worker_with(&[])
    }

    pub(crate) fn worker_with(&self, more: &[(&str, &str)]) -> Running {
        let (log, env) = (self.log_of("worker"), env(&self.scope, &self.with(more)));
        Running::start(env, |env| Service::spawn(Program::Worker, &["run"], env, &log))
    }

    /// A worker whose log goes through such a pipe.
    pub(crate) fn worker_read_by(&self, reader: &LogReader, more: &[(&str, &str)]) -> Running {
        let (log, env) = (self.log_of("worker"), env(&self.scope, &self.with(more)));
        Running::start(env, |env| Service::spawn_read_by(reader, Program::Worker, &["run"], env, &log))
    }

    /// Starts a command of the worker's binary whose log goes through such a pipe.
    pub(crate) fn command_read_by(&self, reader: &LogReader, args: &[&str]) -> Service {
        let log = self.log_of("command");
        let args = with_handler(args);
        Service::spawn_read_by(reader, Program::Worker, &args, &env(&self.scope, &self.settings), &log).unwrap()
    }

    /// Runs a command of the worker's binary to its end; returns whether it succeeded, and its output.
    pub(crate) async fn command(&self, args: &[&str], more: &[(&str, &str)]) -> (bool, String) {
        let log = self.log_of("command");
        let args = with_handler(args);
        let service = Service::spawn(Program::Worker, &args, &env(&self.scope, &self.with(more)), &log).unwrap();
        blocking(move || (service.wait(TEST_TIMEOUT).unwrap().success(), service.log())).await
    }
}

/// Whether the readiness on an API's internal port reports the server as down for this reason.
pub(crate) async fn says_down(api: &Api, server: &str, why: &str) -> bool {
    let (status, body) = api.ready().await;
    let found = &body["dependencies"][server];
    (status == 200 && body["status"] == "degraded" && found["status"] == "down")
        && found["error"].as_str().is_some_and(|error| error.contains(why))
}

pub(super) fn spawn_api(scope: &Scope, settings: &[(String, String)], log: &Path) -> Api {
    Api::start(api_env(scope, settings), |env| Service::spawn(Program::Api, &[], env, log))
}

fn api_env(scope: &Scope, settings: &[(String, String)]) -> Vec<(String, String)> {
    [owned(&[("JWT_SECRET", SECRET)]), env(scope, settings)].concat()
}

/// The settings of a scope, overridden by these. The timeouts are longer than the defaults, because Kafka may
/// be slow on a busy machine.
pub(super) fn env(scope: &Scope, settings: &[(String, String)]) -> Vec<(String, String)> {
    let patient = owned(&[("REQUEST_TIMEOUT", "40s"), ("KAFKA_MESSAGE_TIMEOUT", "30s")]);
    scope.env().into_iter().chain(patient).chain(settings.iter().cloned()).collect()
}
