//! Our own binaries.

use std::path::Path;
use std::sync::atomic::Ordering;

use devstack::kit::{Worker, nobody};
use devstack::{LogReader, Program, Scope, Service};

use super::{PATIENCE, SECRET, System, blocking, owned};

impl System {
    pub(crate) fn another_api(&self) -> Api {
        self.another_api_with(&[])
    }

    pub(crate) fn another_api_with(&self, more: &[(&str, &str)]) -> Api {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        Api::spawn(&self.scope, &self.with(more), &self.logs.join(format!("api-{number}.log")))
    }

    /// One whose log this one reads, or does not.
    pub(crate) fn api_read_by(&self, reader: &LogReader, more: &[(&str, &str)]) -> Api {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("api-{number}.log"));
        Api::start(&self.scope, &self.with(more), |env| Service::spawn_read_by(reader, Program::Api, &[], env, &log))
    }

    fn with(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        self.settings.iter().cloned().chain(owned(more)).collect()
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    pub(crate) fn worker_with(&self, more: &[(&str, &str)]) -> Worker {
        self.start_worker(more, |env, log| Service::spawn(Program::Worker, &["run"], env, log))
    }

    /// One whose log this one reads, or does not.
    pub(crate) fn worker_read_by(&self, reader: &LogReader, more: &[(&str, &str)]) -> Worker {
        self.start_worker(more, |env, log| Service::spawn_read_by(reader, Program::Worker, &["run"], env, log))
    }

    fn start_worker(
        &self,
        more: &[(&str, &str)],
        spawn: impl Fn(&[(String, String)], &Path) -> anyhow::Result<Service>,
    ) -> Worker {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("worker-{number}.log"));
        Worker::start(env(&self.scope, &self.with(more)), |env| spawn(env, &log))
    }

    /// Starts a command of the worker's binary, whose log this one reads, or does not.
    pub(crate) fn command_read_by(&self, reader: &LogReader, args: &[&str]) -> Service {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("command-{number}.log"));
        Service::spawn_read_by(reader, Program::Worker, args, &env(&self.scope, &self.settings), &log).unwrap()
    }

    /// Runs a command of the worker's binary to its end: whether it was a success, and what it wrote.
    pub(crate) async fn command(&self, args: &[&str], more: &[(&str, &str)]) -> (bool, String) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("command-{number}.log"));
        let service = Service::spawn(Program::Worker, args, &env(&self.scope, &self.with(more)), &log).unwrap();
        blocking(move || (service.wait(PATIENCE).unwrap().success(), service.log())).await
    }
}

pub(crate) struct Api {
    pub(crate) service: Service,
    pub(crate) base: String,
    pub(crate) ops: String,
}

impl Api {
    pub(super) fn spawn(scope: &Scope, settings: &[(String, String)], log: &Path) -> Self {
        Self::start(scope, settings, |env| Service::spawn(Program::Api, &[], env, log))
    }

    fn start(
        scope: &Scope,
        settings: &[(String, String)],
        spawn: impl Fn(&[(String, String)]) -> anyhow::Result<Service>,
    ) -> Self {
        let (bind, ops) = (nobody(), nobody());
        let mut all = owned(&[("API_BIND", &bind), ("OPS_BIND", &ops), ("JWT_SECRET", SECRET)]);
        all.extend(env(scope, settings));
        let service = spawn(&all).unwrap();
        Self { service, base: format!("http://{bind}"), ops: format!("http://{ops}") }
    }
}

/// The settings of a scope, and then these, which count where they name the same. On a busy machine Kafka may
/// take longer than it has by default.
pub(super) fn env(scope: &Scope, settings: &[(String, String)]) -> Vec<(String, String)> {
    let patient = owned(&[("REQUEST_TIMEOUT", "40s"), ("KAFKA_MESSAGE_TIMEOUT", "30s")]);
    scope.env().into_iter().chain(patient).chain(settings.iter().cloned()).collect()
}
