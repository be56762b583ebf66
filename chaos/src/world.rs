//! The system under test: servers, proxies in front of them, two APIs and some workers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use devstack::kit::owned;
use devstack::{LogReader, Postgres, Program, Proxy, Redis, Scope, Service, SmallDisk, Stack};
use devstack::{asked, port, psql, token};

use crate::faults;
use crate::load::lock;
use crate::plan::{APIS, Fault, Target, WORKER_PROXIES};

const SECRET: &str = "planted-7f3a: the secret of a run of chaos, long enough";
const SETUP: Duration = Duration::from_secs(60);
/// A worker's log line for each partition that it is assigned.
pub const ASSIGNED: &str = r#""message":"assigned""#;
/// A worker's log line when it has become the relay, and what it has if the topic had no event whose row was there.
pub const RELAY: &str = "this worker publishes the outbox";
pub const NOTHING_FOUND: &str = r#""deleted":0"#;
/// The cache's TTL. Much longer than a deferred fence takes, so that a fence that is never sent leaves a stale
/// body for long enough to be noticed.
pub const TTL: Duration = Duration::from_secs(20);
/// A worker's timeout for PostgreSQL.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(3);

/// The proxies through which some of the services reach the servers.
pub struct Proxies {
    pub kafka: Proxy,
    pub postgres: Proxy,
    pub redis: Proxy,
    /// To the Redis of the caps.
    pub caps: Proxy,
}

impl Proxies {
    pub fn all_redis(&self) -> Vec<&Proxy> {
        vec![&self.redis, &self.caps]
    }
}

/// Two Redis servers, of which one is the primary.
struct RedisPair {
    servers: [Redis; 2],
    second_is_primary: AtomicBool,
}

impl RedisPair {
    fn start() -> anyhow::Result<RedisPair> {
        Ok(RedisPair { servers: [Redis::start(&[])?, Redis::start(&[])?], second_is_primary: AtomicBool::new(false) })
    }

    /// The primary, and the other one.
    fn get(&self) -> (&Redis, &Redis) {
        let [first, second] = &self.servers;
        if self.second_is_primary.load(Ordering::SeqCst) { (second, first) } else { (first, second) }
    }
}

pub struct World {
    // Fields are dropped in this order, so the services stop before the servers.
    apis: Vec<Mutex<Service>>,
    /// In the order in which they started.
    workers: Mutex<Vec<Service>>,
    pub urls: Vec<String>,
    pub token: String,
    pub scope: Scope,
    /// The store of files: a folder that all services see.
    pub files: PathBuf,
    /// First one for each API, then the ones that the workers share.
    pub proxies: Vec<Proxies>,
    /// The small disk of PostgreSQL's tables, if this machine may mount one; a fault fills it.
    pub disk: Option<SmallDisk>,
    /// Alternates with the stack's Redis as primary.
    second_redis: Redis,
    redis_is_second: AtomicBool,
    /// The Redis of the caps, and the one that may take over. They evict nothing.
    caps: RedisPair,
    /// The PostgreSQL that took over from the stack's.
    successor: OnceLock<Postgres>,
    /// The harness's own proxy to PostgreSQL, which no fault affects.
    database: Proxy,
    pub stack: Stack,
    pub log_reader: LogReader,
    started: AtomicUsize,
    ended: Mutex<Vec<String>>,
    turns: [Mutex<()>; 5],
    /// Held by all who end or start workers; closed while none may run.
    gate: RwLock<()>,
    logs: PathBuf,
}

impl World {
    /// Starts everything, with two workers; the services' logs go into files in this folder.
    pub fn start(logs: &Path) -> anyhow::Result<World> {
        let (stack, caps) = (Stack::start()?, RedisPair::start()?);
        let mut proxies = Vec::new();
        for kafka in stack.kafka.proxies(APIS + WORKER_PROXIES)? {
            proxies.push(Proxies {
                kafka,
                postgres: Proxy::to(stack.postgres.port)?,
                redis: Proxy::to(stack.redis.port)?,
                caps: Proxy::to(caps.get().0.port)?,
            });
        }
        let (second_redis, own_proxy) = (Redis::start(&[])?, Proxy::to(stack.postgres.port)?);
        let mut scope = Scope::on(&stack.endpoints(), "chaos")?;
        let files = logs.canonicalize()?.join("files");
        std::fs::create_dir(&files)?;
        scope.files_url = format!("file://{}", files.display());
        let disk = stack.postgres.small_disk().inspect_err(|error| println!("no small disk: {error:#}")).ok();
        if let Some(disk) = &disk {
            faults::use_disk(&stack.postgres.url(), &scope.database_url, disk.path())?;
        }
        scope.database_url = port::replaced(&scope.database_url, own_proxy.port)?;
        let setup = Service::spawn(Program::Worker, &["setup"], &scope.env(), &logs.join("setup.log"))?;
        ensure!(setup.wait(SETUP)?.success(), "setup failed: {}", setup.log());
        psql(&scope.database_url, faults::REFUSE)?;

        let mut world = World {
            apis: Vec::new(),
            workers: Mutex::default(),
            urls: Vec::new(),
            token: token::hs256(SECRET, "chaos", &["admin"], &[], Duration::from_secs(24 * 3600))?,
            scope,
            files,
            proxies,
            disk,
            second_redis,
            redis_is_second: AtomicBool::new(false),
            caps,
            successor: OnceLock::new(),
            database: own_proxy,
            stack,
            log_reader: LogReader::default(),
            started: AtomicUsize::new(0),
            ended: Mutex::default(),
            turns: Default::default(),
            gate: RwLock::default(),
            logs: logs.to_owned(),
        };
        for index in 0..APIS {
            world.urls.push(format!("http://127.0.0.1:{}", port::free()));
            world.apis.push(Mutex::new(world.start_api(index)?));
        }
        world.add_worker()?;
        world.add_worker()?;
        world.until_assigned()?;
        Ok(world)
    }

    /// The primary Redis, and the one that may take over.
    pub fn redis(&self) -> (&Redis, &Redis) {
        let (first, second) = (&self.stack.redis, &self.second_redis);
        if self.redis_is_second.load(Ordering::SeqCst) { (second, first) } else { (first, second) }
    }

    /// Records that the two Redis servers have swapped roles.
    pub fn swap_redis(&self) {
        self.redis_is_second.fetch_xor(true, Ordering::SeqCst);
    }

    /// The Redis of the caps, and the one that may take over.
    pub fn caps(&self) -> (&Redis, &Redis) {
        self.caps.get()
    }

    /// Records that the two Redis servers of the caps have swapped roles, and leads all services to the new primary.
    pub fn swap_caps(&self) {
        self.caps.second_is_primary.fetch_xor(true, Ordering::SeqCst);
        let port = self.caps().0.port;
        self.proxies.iter().for_each(|proxies| proxies.caps.lead_to(port));
    }

    pub fn postgres(&self) -> &Postgres {
        self.successor.get().unwrap_or(&self.stack.postgres)
    }

    /// Whether the stack's PostgreSQL has a successor.
    pub fn has_failed_over(&self) -> bool {
        self.successor.get().is_some()
    }

    /// Records the server that took over from the stack's PostgreSQL.
    pub fn fail_over_postgres(&self, successor: Postgres) {
        self.database.lead_to(successor.port);
        self.database.drop_connections();
        // A plan has this fault at most once.
        let _ = self.successor.set(successor);
    }

    /// Waits until each worker has partitions: a fault tests nothing while the workers are idle.
    fn until_assigned(&self) -> anyhow::Result<()> {
        let all = || Ok(lock(&self.workers).iter().all(|worker| worker.log().contains(ASSIGNED)).then_some(()));
        let assigned = asked(SETUP, Duration::from_millis(100), all)?;
        assigned.with_context(|| format!("the workers have no partitions after {SETUP:?}"))
    }

    /// The environment of the services that use these proxies.
    fn env(&self, index: usize) -> anyhow::Result<Vec<(String, String)>> {
        let proxies = self.proxies.get(index).context("there are no such proxies")?;
        let mut env = self.scope.env();
        env.extend(owned(&[
            ("KAFKA_BROKERS", &format!("127.0.0.1:{}", proxies.kafka.port)),
            ("DATABASE_URL", &port::replaced(&self.scope.database_url, proxies.postgres.port)?),
            ("REDIS_URL", &format!("redis://127.0.0.1:{}", proxies.redis.port)),
            ("AD_REDIS_URL", &format!("redis://127.0.0.1:{}", proxies.caps.port)),
            ("CACHE_TTL", &format!("{}s", TTL.as_secs())),
            ("OPS_BIND", &format!("127.0.0.1:{}", port::free())),
            ("DATABASE_TIMEOUT", &format!("{}s", STORE_TIMEOUT.as_secs())),
            // Many log lines, to fill the pipe while the harness does not read it.
            ("ACCESS_LOG", "all"),
        ]));
        Ok(env)
    }

    fn spawn(&self, program: Program, args: &[&str], env: &[(String, String)]) -> anyhow::Result<Service> {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let log = self.logs.join(format!("{number:03}-{}.log", program.name()));
        Service::spawn_read_by(&self.log_reader, program, args, env, &log)
    }

    /// The proxies that a fault affects.
    pub fn proxies_of(&self, target: Target) -> impl Iterator<Item = &Proxies> {
        self.proxies.iter().enumerate().filter(move |(index, _)| target.has(*index)).map(|(_, proxies)| proxies)
    }

    pub fn add_worker(&self) -> anyhow::Result<()> {
        let index = APIS + self.started.load(Ordering::Relaxed) % WORKER_PROXIES;
        let service = self.spawn(Program::Worker, &["run"], &self.env(index)?)?;
        self.put_worker(service);
        Ok(())
    }

    /// Removes a worker from the list, chosen by this number, if there is one; the process keeps running.
    pub fn take_worker(&self, choice: usize) -> Option<Service> {
        let mut workers = lock(&self.workers);
        let place = choice.checked_rem(workers.len())?;
        Some(workers.remove(place))
    }

    /// The same for the one with this process id.
    pub fn take_worker_with(&self, pid: u32) -> Option<Service> {
        let mut workers = lock(&self.workers);
        let place = workers.iter().position(|worker| worker.pid() == pid)?;
        Some(workers.remove(place))
    }

    pub fn put_worker(&self, service: Service) {
        lock(&self.workers).push(service);
    }

    pub fn workers(&self) -> usize {
        lock(&self.workers).len()
    }

    /// Waits while no worker may run. Whoever ends or starts workers holds this.
    pub fn gate(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody ends or starts workers; then nobody else does.
    pub fn close_gate(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command of the worker to its end.
    pub fn command(&self, args: &[&str], timeout: Duration) -> anyhow::Result<()> {
        let command = self.spawn(Program::Worker, args, &self.env(0)?)?;
        let status = command.wait(timeout)?;
        ensure!(status.success(), "{status}: {}", command.log());
        Ok(())
    }

    /// Restarts services that ended by themselves, as a platform does, except those that a fault holds.
    pub fn tend(&self) -> anyhow::Result<()> {
        let Ok(_gate) = self.gate.try_read() else { return Ok(()) };
        let ended: Vec<_> = lock(&self.workers).extract_if(.., |worker| !worker.is_running()).collect();
        for worker in ended {
            self.still_runs(&worker);
            self.add_worker()?;
        }
        for (number, api) in self.apis.iter().enumerate() {
            if let Ok(mut api) = api.try_lock()
                && !self.still_runs(&api)
            {
                *api = self.start_api(number)?;
            }
        }
        Ok(())
    }

    /// Whether a service still runs that was not stopped on purpose; records it if it does not.
    pub fn still_runs(&self, service: &Service) -> bool {
        if service.is_running() {
            return true;
        }
        let status = service.wait(Duration::ZERO).map_or_else(|error| error.to_string(), |status| status.to_string());
        let (name, pid, log) = (service.program().name(), service.pid(), service.log());
        let last = log.lines().last().unwrap_or_default();
        lock(&self.ended).push(format!("{name} ({pid}) ended by itself, {status}: {last}"));
        false
    }

    /// The services that ended by themselves.
    pub fn ended(&self) -> Vec<String> {
        lock(&self.ended).clone()
    }

    pub fn api(&self, choice: usize) -> anyhow::Result<MutexGuard<'_, Service>> {
        Ok(lock(self.apis.get(choice % self.apis.len().max(1)).context("there is no API")?))
    }

    pub fn start_api(&self, choice: usize) -> anyhow::Result<Service> {
        let index = choice % APIS;
        let bind = self.urls.get(index).and_then(|url| url.strip_prefix("http://")).context("there is no API")?;
        let mut env = self.env(index)?;
        env.extend(owned(&[("API_BIND", bind), ("JWT_SECRET", SECRET), ("KAFKA_MESSAGE_TIMEOUT", "4s")]));
        self.spawn(Program::Api, &[], &env)
    }

    /// The lock on the server that a fault affects.
    pub fn turn(&self, fault: Fault) -> Option<MutexGuard<'_, ()>> {
        fault.turn().and_then(|turn| self.turns.get(turn as usize)).map(lock)
    }
}
