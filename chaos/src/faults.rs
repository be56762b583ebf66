//! What each fault does, and how it is mended.

mod kafka;
mod postgres;

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use devstack::{Proxy, Server, Service};

pub use self::postgres::{REFUSE, use_disk};
use crate::history::{Bounds, History, Span};
use crate::load::{DEVICES, lock};
use crate::plan::{Fault, Step};
use crate::world::{STORE_TIMEOUT, TTL, Way, World};

/// The most workers at once.
const MAX_WORKERS: usize = 3;
const ORDERLY_END: Duration = Duration::from_secs(30);
/// What is expected of the cache.
pub const BOUNDS: Bounds = Bounds { ttl: TTL, fences_sent: Duration::from_secs(3), store_timeout: STORE_TIMEOUT };
/// The longest that devices are refused while other things go wrong.
const REFUSED_BESIDE_OTHERS: Duration = Duration::from_secs(18);
/// Devices refused at once.
const REFUSED: usize = 6;
/// The least time from the first refusal to the end of it: less than the first retry waits.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Does one fault, waits for as long as it lasts, and mends it. Blocks.
///
/// # Errors
/// It could not be done, or not be mended: the run says nothing then.
pub fn happen(step: Step, world: &World, history: &Arc<Mutex<History>>, began: Instant) -> anyhow::Result<()> {
    let choice = step.choice;
    let lasts = || sleep(step.lasts);
    // Of one server only one thing goes wrong at a time; different ones may go wrong together.
    let _turn = world.turn(step.fault);
    let note = |spans: Spans, work: &dyn Fn() -> anyhow::Result<()>| {
        let from = began.elapsed();
        // Noted at once, for the readers of this very moment, and with its end afterwards.
        let index = {
            let mut history = lock(history);
            let spans = spans(&mut history);
            spans.push((from, Duration::MAX / 2));
            spans.len() - 1
        };
        let done = work();
        if let Some(span) = spans(&mut lock(history)).get_mut(index) {
            span.1 = began.elapsed();
        }
        done
    };
    let redis = |work: &dyn Fn() -> anyhow::Result<()>| note(|history| &mut history.redis_away, work);
    let postgres = |work: &dyn Fn() -> anyhow::Result<()>| note(|history| &mut history.postgres_away, work);
    let worker_gone = |work: &dyn Fn() -> anyhow::Result<()>| note(|history| &mut history.workers_away, work);
    match step.fault {
        Fault::KillWorker => {
            if let Some(worker) = world.take_worker(choice).filter(|worker| world.still_runs(worker)) {
                worker_gone(&|| worker.kill())?;
            }
            world.add_worker()
        }
        Fault::StopWorker => {
            let worker = world.take_worker(choice).filter(|worker| world.still_runs(worker));
            world.add_worker()?;
            let Some(worker) = worker else { return Ok(()) };
            worker_gone(&|| end(&worker))
        }
        Fault::FreezeWorker => {
            let Some(worker) = world.take_worker(choice) else { return world.add_worker() };
            worker_gone(&|| {
                worker.freeze()?;
                // Often longer than its session: somebody else takes over.
                sleep(step.lasts * 3);
                worker.thaw()
            })?;
            world.put_worker(worker);
            Ok(())
        }
        Fault::AddWorker => match world.workers() {
            MAX_WORKERS.. => match world.take_worker(choice).filter(|worker| world.still_runs(worker)) {
                Some(worker) => worker_gone(&|| worker.kill()),
                None => Ok(()),
            },
            _ => world.add_worker(),
        },
        Fault::KillApi => {
            let mut api = world.api(choice)?;
            if world.still_runs(&api) {
                api.kill()?;
            }
            *api = world.start_api(choice)?;
            Ok(())
        }
        Fault::StopApi => {
            let mut api = world.api(choice)?;
            if world.still_runs(&api) {
                end(&api)?;
            }
            *api = world.start_api(choice)?;
            Ok(())
        }
        Fault::FreezeApi => {
            let api = world.api(choice)?;
            api.freeze()?;
            lasts();
            api.thaw()
        }
        Fault::KillKafka => restart(&world.stack.kafka, step, Server::kill),
        Fault::StopKafka => restart(&world.stack.kafka, step, Server::stop),
        Fault::FreezeKafka => freeze(&world.stack.kafka, step),
        Fault::CutKafka => cut(world, step, |way| &way.kafka),
        Fault::SlowKafka => slow(world, step, |way| &way.kafka, Duration::from_millis(50)),
        Fault::KillPostgres | Fault::LosePostgres => postgres(&|| restart(&world.stack.postgres, step, Server::kill)),
        Fault::StopPostgres => postgres(&|| restart(&world.stack.postgres, step, Server::stop)),
        Fault::FreezePostgres => postgres(&|| freeze(&world.stack.postgres, step)),
        Fault::CutPostgres => postgres(&|| cut(world, step, |way| &way.postgres)),
        Fault::SlowPostgres => slow(world, step, |way| &way.postgres, Duration::from_millis(50)),
        Fault::ReadOnlyPostgres => {
            until_done(|| postgres::read_only(world, true))?;
            lasts();
            until_done(|| postgres::read_only(world, false))
        }
        Fault::FillDisk => {
            until_done(|| postgres::fill_disk(world, true))?;
            lasts();
            until_done(|| postgres::fill_disk(world, false))
        }
        Fault::RefuseDevices => {
            let device = |n| format!("device-{}", (choice + n * DEVICES / REFUSED) % DEVICES);
            let devices: Vec<_> = (0..REFUSED).map(device).collect();
            let (some, others) = devices.split_at(REFUSED / 2);
            lock(history).refused.extend(devices.iter().cloned());
            // Some with whatever else goes wrong meanwhile, sometimes longer than all retries.
            until_done(|| postgres::refuse(world, some))?;
            sleep((step.lasts * 3).min(REFUSED_BESIDE_OTHERS));
            until_done(|| postgres::accept(world, some))?;
            // Others with PostgreSQL well: they are held when it takes their events again.
            let _turn = world.turn(Fault::LosePostgres);
            let before = postgres::refusals(world)?;
            postgres::refuse(world, others)?;
            let refused = until_done(|| match postgres::refusals(world)? {
                refusals if refusals > before => Ok(()),
                _ => anyhow::bail!("nothing was refused"),
            });
            // With Kafka away for long, no event comes.
            if let Err(error) = refused {
                println!("          {step}: {error}");
            }
            sleep(AFTER_REFUSAL + step.lasts);
            postgres::accept(world, others)
        }
        Fault::KillRedis => redis(&|| restart(&world.stack.redis, step, Server::kill)),
        Fault::StopRedis => redis(&|| restart(&world.stack.redis, step, Server::stop)),
        Fault::FreezeRedis => redis(&|| freeze(&world.stack.redis, step)),
        Fault::CutRedis if step.whom.has_workers() => redis(&|| cut(world, step, |way| &way.redis)),
        // Only workers put fences off.
        Fault::CutRedis => cut(world, step, |way| &way.redis),
        // Nothing is put off because it takes longer.
        Fault::SlowRedis => slow(world, step, |way| &way.redis, Duration::from_millis(30)),
        Fault::Poison => kafka::poison(world, history, choice),
        Fault::RefuseLetters => {
            until_done(|| kafka::take_letters(world, false))?;
            kafka::poison(world, history, choice)?;
            lasts();
            until_done(|| kafka::take_letters(world, true))
        }
        Fault::AddPartitions => until_done(|| kafka::add_partitions(world)),
    }
}

/// Which spans of a history are meant.
type Spans = fn(&mut History) -> &mut Vec<Span>;

/// A service's orderly end.
fn end(service: &Service) -> anyhow::Result<()> {
    service.terminate()?;
    let status = service.wait(ORDERLY_END)?;
    anyhow::ensure!(status.success(), "{} did not end in order: {status}", service.program().name());
    Ok(())
}

fn cut(world: &World, step: Step, proxy: fn(&Way) -> &Proxy) -> anyhow::Result<()> {
    for way in world.ways_of(step.whom) {
        proxy(way).cut();
    }
    sleep(step.lasts);
    mend(world, step, proxy);
    Ok(())
}

fn slow(world: &World, step: Step, proxy: fn(&Way) -> &Proxy, delay: Duration) -> anyhow::Result<()> {
    for way in world.ways_of(step.whom) {
        proxy(way).slow(delay);
    }
    sleep(step.lasts);
    mend(world, step, proxy);
    Ok(())
}

fn mend(world: &World, step: Step, proxy: fn(&Way) -> &Proxy) {
    for way in world.ways_of(step.whom) {
        proxy(way).mend();
    }
}

fn restart(server: &Server, step: Step, end: fn(&Server) -> anyhow::Result<()>) -> anyhow::Result<()> {
    end(server)?;
    sleep(step.lasts);
    server.start()
}

fn freeze(server: &Server, step: Step) -> anyhow::Result<()> {
    server.freeze()?;
    sleep(step.lasts);
    server.thaw()
}

/// Again until it works: another fault may be in the way.
fn until_done(work: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match work() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(Duration::from_millis(300)),
        }
    }
}
