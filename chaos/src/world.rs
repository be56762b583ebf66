//! The system that is to be broken: servers, proxies in front of them, two APIs and some workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use devstack::{Program, Proxy, Scope, Service, SmallDisk, Stack, port, psql, token};

use crate::faults;
use crate::plan::Fault;

const SECRET: &str = "planted-7f3a: the secret of a run of chaos, long enough";
const SETUP: Duration = Duration::from_secs(60);
/// Short, so that what a cut-off Redis excuses is excused for a short time only.
pub const TTL: Duration = Duration::from_secs(3);

/// Servers and services.
pub struct World {
    // What is dropped first ends first.
    apis: Vec<Mutex<Service>>,
    workers: Mutex<BTreeMap<usize, Service>>,
    /// The APIs' addresses.
    pub urls: Vec<String>,
    /// A token for everything.
    pub token: String,
    /// The names that this run owns.
    pub scope: Scope,
    /// In front of PostgreSQL.
    pub postgres: Proxy,
    /// In front of Redis.
    pub redis: Proxy,
    /// What PostgreSQL's tables lie on, where a disk that can be filled may be mounted.
    pub disk: Option<SmallDisk>,
    /// The servers.
    pub stack: Stack,
    api_envs: Vec<Vec<(String, String)>>,
    started: Mutex<usize>,
    turns: [Mutex<()>; 3],
    logs: PathBuf,
}

impl World {
    /// Starts it all, with two workers; what they write goes into files in this folder.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start(logs: &Path) -> anyhow::Result<World> {
        let stack = Stack::start()?;
        ensure!(stack.endpoints().kafka_is_real, "chaos needs a real Kafka");
        let postgres = Proxy::to(stack.postgres.port)?;
        let redis = Proxy::to(stack.redis.port)?;
        let scope = Scope::on(&stack.endpoints(), "chaos")?;
        let disk = stack.postgres.small_disk().inspect_err(|error| println!("no small disk: {error:#}")).ok();
        if let Some(disk) = &disk {
            faults::use_disk(&stack.postgres.url(), &scope.database_url, disk.path())?;
        }
        let setup = Service::spawn(Program::Worker, &["setup"], &scope.env(), &logs.join("setup.log"))?;
        ensure!(setup.wait(SETUP)?.success(), "setup failed: {}", setup.log());
        psql(&scope.database_url, faults::REFUSE)?;

        let mut world = World {
            apis: Vec::new(),
            workers: Mutex::default(),
            urls: Vec::new(),
            token: token::hs256(SECRET, "chaos", &["admin"], &[], Duration::from_secs(24 * 3600))?,
            scope,
            postgres,
            redis,
            disk,
            stack,
            api_envs: Vec::new(),
            started: Mutex::new(0),
            turns: Default::default(),
            logs: logs.to_owned(),
        };
        for _ in 0..2 {
            let bind = format!("127.0.0.1:{}", port::free());
            let mut env = world.env();
            env.extend(pairs(&[("API_BIND", &bind), ("JWT_SECRET", SECRET), ("KAFKA_MESSAGE_TIMEOUT", "4s")]));
            let api = world.spawn(Program::Api, &[], &env)?;
            world.apis.push(Mutex::new(api));
            world.urls.push(format!("http://{bind}"));
            world.api_envs.push(env);
        }
        world.add_worker()?;
        world.add_worker()?;
        Ok(world)
    }

    /// What the services read: their stores are behind the proxies.
    fn env(&self) -> Vec<(String, String)> {
        let mut env = self.scope.env();
        let database = self.scope.database_url.rsplit_once('/').map_or("", |(_, name)| name);
        env.extend(pairs(&[
            ("DATABASE_URL", &format!("postgres://postgres@127.0.0.1:{}/{database}", self.postgres.port)),
            ("REDIS_URL", &format!("redis://127.0.0.1:{}", self.redis.port)),
            ("CACHE_TTL", &format!("{}s", TTL.as_secs())),
            ("OPS_BIND", &format!("127.0.0.1:{}", port::free())),
            ("DATABASE_TIMEOUT", "3s"),
        ]));
        env
    }

    fn spawn(&self, program: Program, args: &[&str], env: &[(String, String)]) -> anyhow::Result<Service> {
        let mut started = lock(&self.started);
        *started += 1;
        Service::spawn(program, args, env, &self.logs.join(format!("{:03}-{}.log", *started, program.name())))
    }

    /// One more worker.
    ///
    /// # Errors
    /// It does not start.
    pub fn add_worker(&self) -> anyhow::Result<()> {
        let service = self.spawn(Program::Worker, &["run"], &self.env())?;
        let number = *lock(&self.started);
        lock(&self.workers).insert(number, service);
        Ok(())
    }

    /// Takes a worker out, by chance, if there is one; it runs on until it is told otherwise.
    pub fn take_worker(&self, choice: usize) -> Option<Service> {
        let mut workers = lock(&self.workers);
        let key = workers.keys().nth(choice % workers.len().max(1)).copied()?;
        workers.remove(&key)
    }

    /// Puts a worker back that was taken out.
    pub fn put_worker(&self, service: Service) {
        let mut started = lock(&self.started);
        *started += 1;
        lock(&self.workers).insert(*started, service);
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        lock(&self.workers).len()
    }

    /// Starts what ended by itself anew, as a platform does, and tells how many that were. What a
    /// fault has in hand is left to it.
    ///
    /// # Errors
    /// It does not start.
    pub fn tend(&self) -> anyhow::Result<usize> {
        let ended = lock(&self.workers).extract_if(.., |_, worker| !worker.is_running()).count();
        for _ in 0..ended {
            self.add_worker()?;
        }
        let mut count = ended;
        for (number, api) in self.apis.iter().enumerate() {
            if let Ok(mut api) = api.try_lock()
                && !api.is_running()
            {
                *api = self.start_api(number)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// One of the APIs.
    ///
    /// # Errors
    /// There is none.
    pub fn api(&self, choice: usize) -> anyhow::Result<MutexGuard<'_, Service>> {
        Ok(lock(self.apis.get(choice % self.apis.len().max(1)).context("there is no API")?))
    }

    /// Starts an API that has ended anew, on its port.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_api(&self, choice: usize) -> anyhow::Result<Service> {
        let env = self.api_envs.get(choice % self.api_envs.len().max(1)).context("there is no API")?;
        self.spawn(Program::Api, &[], env)
    }

    /// The right to do something to the server of a fault.
    pub fn turn(&self, fault: Fault) -> Option<MutexGuard<'_, ()>> {
        let [kafka, postgres, redis] = &self.turns;
        match fault {
            Fault::KillKafka | Fault::FreezeKafka | Fault::RefuseLetters => Some(lock(kafka)),
            Fault::KillPostgres
            | Fault::StopPostgres
            | Fault::FreezePostgres
            | Fault::CutPostgres
            | Fault::SlowPostgres
            | Fault::ReadOnlyPostgres
            | Fault::FillDisk
            | Fault::LosePostgres => Some(lock(postgres)),
            Fault::KillRedis | Fault::FreezeRedis | Fault::CutRedis | Fault::SlowRedis => Some(lock(redis)),
            Fault::KillWorker
            | Fault::StopWorker
            | Fault::FreezeWorker
            | Fault::AddWorker
            | Fault::KillApi
            | Fault::StopApi
            | Fault::FreezeApi
            | Fault::RefuseDevices
            | Fault::Poison
            | Fault::AddPartitions => None,
        }
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
