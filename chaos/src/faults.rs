//! What each fault does, and how it is mended.

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use devstack::{Server, psql};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::history::History;
use crate::load::{DEVICES, lock};
use crate::plan::{Fault, Step};
use crate::world::World;

/// The most workers at once.
const MAX_WORKERS: usize = 3;
const ORDERLY_END: Duration = Duration::from_secs(30);
/// Fences that were kept are sent within this after Redis is back.
const FENCES_SENT: Duration = Duration::from_secs(3);
/// Partitions after some were added.
const MORE_PARTITIONS: usize = 9;

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
            world.take_worker(choice)?.kill()?;
            world.add_worker()
        }
        Fault::StopWorker => {
            let worker = world.take_worker(choice)?;
            world.add_worker()?;
            worker.terminate()?;
            let status = worker.wait(ORDERLY_END)?;
            anyhow::ensure!(status.success(), "a worker did not end in order: {status}");
            Ok(())
        }
        Fault::FreezeWorker => {
            let worker = world.take_worker(choice)?;
            worker.freeze()?;
            // Longer than its session: somebody else takes over.
            sleep(step.lasts * 3);
            worker.thaw()?;
            world.put_worker(worker);
            Ok(())
        }
        Fault::AddWorker => {
            if world.workers() < MAX_WORKERS {
                world.add_worker()
            } else {
                world.take_worker(choice)?.kill()
            }
        }
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
        Fault::KillPostgres => restart(&world.stack.postgres, step),
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
        Fault::RefuseDevice => {
            let device = format!("device-{}", choice % DEVICES);
            lock(history).refused.insert(device.clone());
            // PostgreSQL may be away itself: then there is nothing to refuse.
            let _ = psql(
                &world.scope.database_url,
                &format!("INSERT INTO refused VALUES ('{device}') ON CONFLICT DO NOTHING"),
            );
            sleep(step.lasts * 3);
            until_done(|| {
                psql(&world.scope.database_url, &format!("DELETE FROM refused WHERE device_id = '{device}'")).map(drop)
            })
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
        Fault::Poison => poison(world, history, choice),
        Fault::AddPartitions => {
            lock(history).partitions_added = true;
            until_done(|| add_partitions(world))
        }
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

/// Records that are no events, as another client could write them.
fn poison(world: &World, history: &Arc<Mutex<History>>, choice: usize) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.scope.endpoints.kafka_brokers)
        .set("enable.idempotence", "true")
        .create()?;
    for n in 0..5 {
        let value = format!("poison {choice} {n}");
        let key = format!("device-{}", (choice + n) % DEVICES);
        producer
            .send(BaseRecord::to(&world.scope.input_topic).key(&key).payload(&value))
            .map_err(|(error, _)| error)?;
        lock(history).poison.insert(value);
    }
    producer.flush(Duration::from_secs(60)).context("poison")
}

fn add_partitions(world: &World) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &world.scope.endpoints.kafka_brokers).create()?;
    let more = [NewPartitions::new(&world.scope.input_topic, MORE_PARTITIONS)];
    let runtime = tokio::runtime::Handle::current();
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
    for result in runtime.block_on(admin.create_partitions(&more, &options))? {
        match result {
            // It had worked, and the answer was lost.
            Ok(_) | Err((_, rdkafka::types::RDKafkaErrorCode::InvalidPartitions)) => {}
            Err((topic, code)) => anyhow::bail!("{topic}: {code}"),
        }
    }
    Ok(())
}
