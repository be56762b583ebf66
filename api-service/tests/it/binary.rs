//! The binary, as it is deployed.

use std::fs::{read_dir, read_to_string};
use std::ops::Deref;

use devstack::kit::{Api, TEST_TIMEOUT, owned, until_blocking};
use devstack::{Program, Scope, Service};

use crate::app::SECRET;

pub(crate) struct Binary(Api);

impl Deref for Binary {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.0
    }
}

impl Binary {
    pub(crate) fn start(scope: &Scope) -> Self {
        Self::with(scope, &[("RUST_LOG", "debug")])
    }

    pub(crate) fn with(scope: &Scope, settings: &[(&str, &str)]) -> Self {
        Self::with_and_without(scope, settings, &[])
    }

    /// With these settings, and without some of the usual ones.
    pub(crate) fn with_and_without(scope: &Scope, settings: &[(&str, &str)], without: &[&str]) -> Self {
        // On a busy machine Kafka and Redis may take longer than the defaults.
        let patient = [
            ("REQUEST_TIMEOUT", "40s"),
            ("KAFKA_MESSAGE_TIMEOUT", "30s"),
            ("REDIS_TIMEOUT", "2s"),
            ("BODY_MIN_RATE", "1"),
        ];
        let usual = [("DRAIN_DELAY", "0s"), ("JWT_SECRET", SECRET)];
        let mut env = [scope.env(), owned(&usual), owned(&patient), owned(settings)].concat();
        env.retain(|(name, _)| !without.contains(&name.as_str()));
        let logs = devstack::target_dir().join("api-logs");
        std::fs::create_dir_all(&logs).unwrap();
        let log = logs.join(format!("{}-{}.log", scope.group, fastrand::u32(..)));
        let api = Api::start(env, |env| Service::spawn(Program::Api, &[], env, &log));
        until_blocking("it listens", || {
            assert!(api.service.is_running(), "it ended: {}", api.service.log());
            api.service.log().contains("listening")
        });
        Self(api)
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.service.log().lines().map(str::to_owned).collect()
    }

    /// The number of its threads with this name.
    pub(crate) fn threads(&self, name: &str) -> usize {
        let tasks = read_dir(format!("/proc/{}/task", self.service.pid())).unwrap();
        // A thread that ends meanwhile has no name any more.
        let names = tasks.filter_map(|task| read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|found| found.trim_end() == name).count()
    }

    /// Terminates it as an orchestrator does, and returns its status and its log.
    pub(crate) fn terminate(self) -> (Option<i32>, Vec<String>) {
        self.service.terminate().unwrap();
        let status = self.service.wait(TEST_TIMEOUT).unwrap().code();
        (status, self.seen())
    }
}
