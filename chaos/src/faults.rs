//! What each fault does, and how it is mended.

mod kafka;
mod postgres;

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use devstack::Server;

pub use self::postgres::{REFUSE, use_disk};
use crate::history::History;
use crate::load::{DEVICES, lock};
use crate::plan::{Fault, Step};
use crate::world::World;

/// The most workers at once.
const MAX_WORKERS: usize = 3;
const ORDERLY_END: Duration = Duration::from_secs(30);
/// Fences that were kept are sent within this after Redis is back.
pub const FENCES_SENT: Duration = Duration::from_secs(3);
/// Devices refused at once.
const REFUSED: usize = 6;
/// The least time from the first refusal to the end of it: less than the first retry waits.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Does one fault, waits for as long as it lasts, and mends it. Blocks.
///
/// # Errors
/// It could not be done, or not be mended: the run says nothing then.
pub fn happen(
    step: Step,
    world: &World,
    history: &Arc<Mutex<History>>,
    began: Instant,
    choice: usize,
) -> anyhow::Result<()> {
    let lasts = || sleep(step.lasts);
    // Of one server only one thing goes wrong at a time; different ones may go wrong together.
    let _turn = world.turn(step.fault);
    let redis = |work: &dyn Fn() -> anyhow::Result<()>| {
        let from = began.elapsed();
        // Noted at once, for the readers of this very moment, and with its end afterwards.
        let index = {
            let mut history = lock(history);
            history.redis_away.push((from, Duration::MAX / 2));
            history.redis_away.len() - 1
        };
        let done = work();
        if let Some(span) = lock(history).redis_away.get_mut(index) {
            span.1 = began.elapsed() + FENCES_SENT;
        }
        done
    };
    match step.fault {
        Fault::KillWorker => {
            if let Some(worker) = world.take_worker(choice) {
                worker.kill()?;
            }
            world.add_worker()
        }
        Fault::StopWorker => {
            let worker = world.take_worker(choice);
            world.add_worker()?;
            let Some(worker) = worker else { return Ok(()) };
            worker.terminate()?;
            let status = worker.wait(ORDERLY_END)?;
            anyhow::ensure!(status.success(), "a worker did not end in order: {status}");
            Ok(())
        }
        Fault::FreezeWorker => {
            let Some(worker) = world.take_worker(choice) else { return world.add_worker() };
            worker.freeze()?;
            // Often longer than its session: somebody else takes over.
            sleep(step.lasts * 3);
            worker.thaw()?;
            world.put_worker(worker);
            Ok(())
        }
        Fault::AddWorker => match world.workers() {
            MAX_WORKERS.. => world.take_worker(choice).map_or(Ok(()), |worker| worker.kill()),
            _ => world.add_worker(),
        },
        Fault::KillApi => {
            let mut api = world.api(choice)?;
            api.kill()?;
            *api = world.start_api(choice)?;
            Ok(())
        }
        Fault::StopApi => {
            let mut api = world.api(choice)?;
            api.terminate()?;
            let status = api.wait(ORDERLY_END)?;
            anyhow::ensure!(status.success(), "an API did not end in order: {status}");
            *api = world.start_api(choice)?;
            Ok(())
        }
        Fault::FreezeApi => {
            let api = world.api(choice)?;
            api.freeze()?;
            lasts();
            api.thaw()
        }
        Fault::KillKafka => restart(&world.stack.kafka, step),
        Fault::FreezeKafka => freeze(&world.stack.kafka, step),
        Fault::KillPostgres | Fault::LosePostgres => restart(&world.stack.postgres, step),
        Fault::StopPostgres => {
            world.stack.postgres.stop()?;
            lasts();
            world.stack.postgres.start()
        }
        Fault::FreezePostgres => freeze(&world.stack.postgres, step),
        Fault::CutPostgres => {
            world.postgres.cut();
            lasts();
            world.postgres.mend();
            Ok(())
        }
        Fault::SlowPostgres => {
            world.postgres.slow(Duration::from_millis(50));
            lasts();
            world.postgres.mend();
            Ok(())
        }
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
            sleep(step.lasts * 3);
            until_done(|| postgres::accept(world, some))?;
            // Others with PostgreSQL well: they are held when it takes their events again.
            let _turn = world.turn(Fault::LosePostgres);
            let before = postgres::refusals(world)?;
            postgres::refuse(world, others)?;
            until_done(|| match postgres::refusals(world)? {
                refusals if refusals > before => Ok(()),
                _ => anyhow::bail!("nothing was refused"),
            })?;
            sleep(AFTER_REFUSAL + step.lasts);
            postgres::accept(world, others)
        }
        Fault::KillRedis => redis(&|| restart(&world.stack.redis, step)),
        Fault::FreezeRedis => redis(&|| freeze(&world.stack.redis, step)),
        Fault::CutRedis => redis(&|| {
            world.redis.cut();
            lasts();
            world.redis.mend();
            Ok(())
        }),
        Fault::SlowRedis => redis(&|| {
            world.redis.slow(Duration::from_millis(30));
            lasts();
            world.redis.mend();
            Ok(())
        }),
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

fn restart(server: &Server, step: Step) -> anyhow::Result<()> {
    server.kill()?;
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
