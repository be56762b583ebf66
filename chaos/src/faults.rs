//! The effect of each fault, and how it is undone.

mod ads;
mod caps;
mod failover;
mod held;
mod kafka;
mod postgres;
mod refusal;
mod relay;
mod restore;
mod transactions;
mod wire;
mod workers;

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use devstack::{Proxy, Server, Service};
use serde::Serialize;

pub use self::kafka::POISON;
pub use self::postgres::{REFUSE, refusals, use_disk};
pub use self::transactions::TRANSACTION;
pub use self::wire::{MARK, WIRE_RECORDS};
use crate::history::ads::FrozenApi;
use crate::history::{Bounds, History, Span, WorkerAway};
use crate::load::advertiser::TooLong;
use crate::load::lock;
use crate::plan::{APIS, Fault, Step};
use crate::world::{Proxies, STORE_TIMEOUT, TTL, World};

const ORDERLY_END: Duration = Duration::from_secs(30);
pub const BOUNDS: Bounds = Bounds {
    ttl: TTL,
    fill_delay: shared::cache::LEASE_TTL,
    fences_sent: Duration::from_secs(3),
    store_timeout: STORE_TIMEOUT,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Happened {
    #[serde(flatten)]
    pub step: Step,
    /// When it began: its server had no other fault any more.
    pub began: Duration,
    pub ended: Duration,
    /// Why it had no effect, if it had none: such a fault tests nothing.
    pub missed: Option<String>,
}

/// Injects one fault, waits as long as it lasts, and undoes it. Blocks.
///
/// # Errors
/// The fault could not be injected or not be undone: the run is then void.
pub fn happen(
    step: Step,
    world: &World,
    history: &Arc<Mutex<History>>,
    run_began: Instant,
) -> anyhow::Result<Happened> {
    // One server has only one fault at a time; different servers may fail together.
    let _turn = world.turn(step.fault);
    let began = run_began.elapsed();
    let missed = Injection { step, world, history, began: run_began }.inject()?;
    Ok(Happened { step, began, ended: run_began.elapsed(), missed })
}

struct Injection<'a> {
    step: Step,
    world: &'a World,
    history: &'a Arc<Mutex<History>>,
    began: Instant,
}

impl Injection<'_> {
    /// Returns the reason if it had no effect.
    fn inject(&self) -> anyhow::Result<Option<String>> {
        let Self { step, world, history, .. } = self;
        let kafka = &world.stack.kafka;
        match step.fault {
            Fault::KillWorker => self.kill_worker(),
            Fault::StopWorker => self.stop_worker(),
            Fault::FreezeWorker => self.freeze_worker(),
            Fault::AddWorker => self.add_worker(),
            Fault::KillApi => return self.end_api(|api| api.kill()),
            Fault::StopApi => return self.end_api(end),
            Fault::FreezeApi => {
                let api = world.api(step.choice)?;
                let from = self.began.elapsed();
                api.freeze()?;
                self.lasts();
                let thawed = api.thaw();
                let span = Span { from, to: self.began.elapsed() };
                lock(history).ads.frozen.push(FrozenApi { api: step.choice % APIS, span });
                thawed
            }
            Fault::KillKafka => self.restart(kafka, Server::kill),
            Fault::StopKafka => self.restart(kafka, Server::stop),
            Fault::FreezeKafka => self.freeze(kafka),
            Fault::CutKafka => self.cut(|proxies| vec![&proxies.kafka]),
            Fault::SlowKafka => self.slow(|proxies| vec![&proxies.kafka], Duration::from_millis(50)),
            Fault::KillPostgres | Fault::LosePostgres => {
                self.postgres_away(|| self.restart(world.postgres(), Server::kill))
            }
            Fault::StopPostgres => self.postgres_away(|| self.restart(world.postgres(), Server::stop)),
            Fault::FreezePostgres => self.postgres_away(|| self.freeze(world.postgres())),
            Fault::CutPostgres => self.postgres_away(|| self.cut(|proxies| vec![&proxies.postgres])),
            Fault::SlowPostgres => self.slow(|proxies| vec![&proxies.postgres], Duration::from_millis(50)),
            Fault::FailOverPostgres => self.fail_over_postgres(),
            // The services do not read from a read-only server either.
            Fault::ReadOnlyPostgres => self.postgres_away(|| {
                until_done(|| postgres::read_only(world, true))?;
                self.lasts();
                until_done(|| postgres::read_only(world, false))
            }),
            Fault::FillDisk => {
                until_done(|| postgres::fill_disk(world, true))?;
                self.lasts();
                until_done(|| postgres::fill_disk(world, false))
            }
            Fault::RefuseDevices => return self.refuse_devices(),
            Fault::KillRedis => self.redis_away(|| self.restart_all(&self.all_redis(), Server::kill)),
            Fault::StopRedis => self.redis_away(|| self.restart_all(&self.all_redis(), Server::stop)),
            Fault::FreezeRedis => self.redis_away(|| self.freeze_all(&self.all_redis())),
            Fault::CutRedis if step.target.has_workers() => self.redis_away(|| self.cut(Proxies::all_redis)),
            // An API defers only the fences of changes, and its reads say that it does without Redis.
            Fault::CutRedis => self.cut(Proxies::all_redis),
            // A slow Redis does not make a worker defer fences.
            Fault::SlowRedis => self.slow(Proxies::all_redis, Duration::from_millis(30)),
            Fault::SwapRedis => self.swap_redis(),
            Fault::RestoreRedis => self.restore_redis(),
            Fault::FailoverRedis => self.fail_over_redis(),
            Fault::EvictRedis => return self.evict_redis(),
            Fault::Midnight => return missed_if_too_long(self.midnight().map(|()| None)),
            Fault::PatchBudget => return missed_if_too_long(self.patch_budget()),
            Fault::Poison => kafka::poison(world, history, step.choice),
            Fault::WireRecords => wire::write(world, history, step.choice),
            Fault::UnreadLogs => return self.unread_logs(),
            Fault::RefuseLetters => self.note(
                |history| &mut history.letters_refused,
                || {
                    until_done(|| kafka::take_letters(world, false))?;
                    kafka::poison(world, history, step.choice)?;
                    self.lasts();
                    until_done(|| kafka::take_letters(world, true))
                },
            ),
            Fault::AddPartitions => until_done(|| kafka::add_partitions(world)),
            Fault::Transactions => return self.transactions(),
            Fault::FreezeRelay => return self.freeze_relay(),
            Fault::KillRelay => return self.kill_relay(),
            Fault::TwoRelays => return self.two_relays(),
            Fault::HoldXmin => return self.hold_xmin(),
            Fault::CutObjects => self.cut_objects(),
            Fault::RestorePostgres => self.restore_postgres(),
        }?;
        Ok(None)
    }

    fn lasts(&self) {
        sleep(self.step.lasts);
    }

    /// Stops reading the services' logs, including those of services that start meanwhile. Returns a reason if no log
    /// pipe was full.
    fn unread_logs(&self) -> anyhow::Result<Option<String>> {
        let reader = &self.world.log_reader;
        let before = reader.full();
        reader.read(false);
        // Long enough for a pipe to fill up.
        sleep(self.step.lasts * 3);
        reader.read(true);
        let read = within(Duration::from_secs(5), || {
            anyhow::ensure!(reader.full() > before, "nobody's log was full");
            Ok(())
        });
        Ok(read.err().map(|error| error.to_string()))
    }

    fn end_api(&self, end: fn(&Service) -> anyhow::Result<()>) -> anyhow::Result<Option<String>> {
        let mut api = self.world.api(self.step.choice)?;
        let runs = self.world.still_runs(&api);
        if runs {
            end(&api)?;
        }
        *api = self.world.start_api(self.step.choice)?;
        Ok((!runs).then(|| "the API had ended by itself".to_owned()))
    }

    /// The Redis of the cache, and that of the caps.
    fn all_redis(&self) -> [&Server; 2] {
        [self.world.redis().0, self.world.caps().0]
    }

    fn restart(&self, server: &Server, end: fn(&Server) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.restart_all(&[server], end)
    }

    fn restart_all(&self, servers: &[&Server], end: fn(&Server) -> anyhow::Result<()>) -> anyhow::Result<()> {
        servers.iter().try_for_each(|server| end(server))?;
        self.lasts();
        servers.iter().try_for_each(|server| server.start())
    }

    fn freeze(&self, server: &Server) -> anyhow::Result<()> {
        self.freeze_all(&[server])
    }

    fn freeze_all(&self, servers: &[&Server]) -> anyhow::Result<()> {
        servers.iter().try_for_each(|server| server.freeze())?;
        self.lasts();
        servers.iter().try_for_each(|server| server.thaw())
    }

    fn cut(&self, proxies: fn(&Proxies) -> Vec<&Proxy>) -> anyhow::Result<()> {
        self.between(proxies, Proxy::cut);
        self.lasts();
        self.between(proxies, Proxy::mend);
        Ok(())
    }

    fn slow(&self, proxies: fn(&Proxies) -> Vec<&Proxy>, delay: Duration) -> anyhow::Result<()> {
        self.between(proxies, |proxy| proxy.slow(delay));
        self.lasts();
        self.between(proxies, Proxy::mend);
        Ok(())
    }

    /// Does this to the proxies between a server and the affected services.
    fn between(&self, proxies: fn(&Proxies) -> Vec<&Proxy>, work: impl Fn(&Proxy)) {
        self.world.proxies_of(self.step.target).flat_map(proxies).for_each(work);
    }

    fn redis_away(&self, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.note(|history| &mut history.redis_away, work)
    }

    fn postgres_away(&self, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.note(|history| &mut history.postgres_away, work)
    }

    fn note(
        &self,
        spans: fn(&mut History) -> &mut Vec<Span>,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let from = self.began.elapsed();
        let done = work();
        spans(&mut lock(self.history)).push(Span { from, to: self.began.elapsed() });
        done
    }

    /// Records that a worker ended, or was frozen, during this work.
    fn worker_away(
        &self,
        worker: &Service,
        ended: bool,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let from = self.began.elapsed();
        let done = work();
        let span = Span { from, to: self.began.elapsed() };
        lock(self.history).workers_away.push(WorkerAway { worker: worker.pid(), ended, span });
        done
    }
}

/// Stops a service in order, once it handles SIGTERM: a process that has just started has no handler yet.
fn end(service: &Service) -> anyhow::Result<()> {
    within(ORDERLY_END, || {
        anyhow::ensure!(hears_sigterm(service)?, "{} does not wait for SIGTERM", service.program().name());
        Ok(())
    })?;
    service.terminate()?;
    let status = service.wait(ORDERLY_END)?;
    anyhow::ensure!(status.success(), "{} did not end in order: {status}", service.program().name());
    Ok(())
}

/// Whether it has a handler for SIGTERM (`SigCgt` of `proc(5)`, the lowest bit being signal 1), or has ended.
fn hears_sigterm(service: &Service) -> anyhow::Result<bool> {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", service.pid())) else { return Ok(true) };
    if status.contains("State:\tZ") {
        return Ok(true);
    }
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap_or_default().trim(), 16)?;
    Ok(caught >> 14 & 1 == 1)
}

/// Repeats the work until it succeeds: another fault may prevent it for a while.
fn until_done(work: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    within(Duration::from_secs(60), work)
}

/// A fault for which other faults left no time has not happened; any other error ends the run.
fn missed_if_too_long(done: anyhow::Result<Option<String>>) -> anyhow::Result<Option<String>> {
    match done {
        Err(error) if error.is::<TooLong>() => Ok(Some(error.to_string())),
        done => done,
    }
}

/// Repeats the work until it succeeds, or returns the last error after this time.
fn within<T>(timeout: Duration, work: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        match work() {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(Duration::from_millis(300)),
        }
    }
}
