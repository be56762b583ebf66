//! What each event, batch, read and row costs, from the figures. Times are seconds of a core.

use super::assumed::{BATCHES, MIB, REQUESTS};
use super::figures::Figures;
use super::load::Load;

/// A record's key, headers and framing in the log; the attributes of a row of `events` are in its measured size. A
/// test compares these with real records, rows and entries.
pub(super) const RECORD: f64 = 620.0;
/// A row of `resources` with its index entry, without the payload, and what updates leave behind.
pub(super) const RESOURCE: f64 = 700.0;
/// An entry of Redis: its key, the body without the payload, and what Redis adds.
pub(super) const ENTRY: f64 = 420.0;

/// The payload of the rows that were measured, in bytes.
const PAYLOAD: f64 = 100.0;
/// Events, and partitions, of the rows `post` and `visible`.
const PACED_RATE: f64 = 1_000.0;
const PARTITIONS: f64 = 6.0;
/// Events of a full batch.
const FULL: f64 = 1_000.0;
/// The cores of the machine of the bench.
const CORES: f64 = 2.0;
const MICRO: f64 = 1e-6;
/// The round trips of a batch's transaction; a read that misses the cache has one.
const ROUND_TRIPS: f64 = 6.0;
/// The events of a minute of the soak.
const SOAKED: f64 = 60_000.0;

/// An event costs something, and each batch, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    pub(super) event: f64,
    pub(super) batch: f64,
}

impl Cost {
    /// From two measurements in µs an event, one with many batches for an event, one with few.
    fn between(many: (f64, f64), few: (f64, f64), speed: f64) -> Self {
        let batch = ((many.0 - few.0) / (many.1 - few.1)).max(0.0);
        Self { event: (few.0 - few.1 * batch).max(0.0) * MICRO / speed, batch: batch * MICRO / speed }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Costs {
    pub(super) api: Cost,
    pub(super) read: f64,
    pub(super) impression_api: f64,
    pub(super) kafka: f64,
    pub(super) impression_kafka: f64,
    pub(super) worker: Cost,
    pub(super) postgres: Cost,
    pub(super) miss: f64,
    pub(super) expired: f64,
    pub(super) impression_postgres: f64,
    /// Fences: a script for a batch.
    pub(super) fence: Cost,
    pub(super) get: f64,
    pub(super) impression_redis: f64,
    /// A second.
    pub(super) partition_rate: f64,
    pub(super) expiry_rate: f64,
    /// Bytes.
    pub(super) record: f64,
    pub(super) row: f64,
    pub(super) index: f64,
    pub(super) resource: f64,
    pub(super) wal: f64,
    pub(super) entry: f64,
    pub(super) cap: f64,
}

impl Costs {
    pub(super) fn of(figures: &Figures, load: &Load) -> Self {
        let (f, speed) = (figures, load.core_speed);
        let micros = |figure: f64| figure * MICRO / speed;
        let whole_machine = |rate: f64| CORES / rate / speed;
        // At most: each partition's batches are 10 ms apart, and a request to Kafka has at least one event.
        let paced = (PARTITIONS * BATCHES / PACED_RATE).min(1.0);
        let requested = (PARTITIONS * REQUESTS / PACED_RATE).min(1.0);
        let saturated = PARTITIONS * REQUESTS / f.post_rate.value;
        let drained =
            |paced_figure: f64, figure: f64| Cost::between((paced_figure, paced), (figure, 1.0 / FULL), speed);

        let mut api = Cost::between((f.paced_api.value, requested), (f.post_api.value, saturated), speed);
        let batched = micros(f.batch_api.value).min(api.event);
        api.event = batched + (api.event - batched) / load.events_per_request;

        let mut postgres = drained(f.paced_postgres.value, f.drained_postgres.value);
        let miss = postgres.batch / ROUND_TRIPS;
        // More resources make statements slower. All of the machine's additional time counts as PostgreSQL's.
        let few = whole_machine(f.rate_10k.value);
        let slower = |rate: f64| (whole_machine(rate) - few).max(0.0);
        postgres.event += by_resources(load.devices, [0.0, slower(f.rate_1m.value), slower(f.rate_10m.value)]);

        // The payload is in the row and in the state.
        let more = (load.payload - PAYLOAD).max(0.0);
        let wal = by_resources(load.devices, [f.wal_10k.value, f.wal_1m.value, f.wal_10m.value]);
        let cap_step = (f.cap_ten.value - f.cap_two.value) / 8.0;
        Self {
            api,
            read: micros(f.read_api.value),
            impression_api: micros(f.impression_api.value + f.impression_librdkafka.value),
            kafka: micros(f.post_kafka.value + f.drained_kafka.value),
            impression_kafka: micros(f.impression_kafka.value + f.drained_kafka.value),
            worker: drained(f.paced_worker.value, f.drained_worker.value),
            postgres,
            miss,
            expired: whole_machine(f.expired_alone.value),
            impression_postgres: micros(f.impression_postgres.value),
            fence: drained(f.paced_redis.value, f.drained_redis.value),
            get: 1.0 / f.read_rate.value / speed,
            impression_redis: micros(f.impression_redis.value),
            partition_rate: f.partition_rate.value * speed,
            expiry_rate: f.expired_beside.value * speed,
            record: load.payload + RECORD,
            row: f.rows_a_minute.value * MIB / SOAKED + more,
            index: f.indexes_a_minute.value * MIB / SOAKED,
            resource: RESOURCE + load.payload,
            wal: wal + 2.0 * more,
            entry: ENTRY + load.payload,
            cap: (f.cap_two.value + cap_step * (load.impressions_per_user - 2.0)).max(f.cap_two.value),
        }
    }
}

/// What was measured with 10 thousand, 1 million and 10 million resources, for this many: on a line between two
/// measurements, by the logarithm; beyond the last one on the line of the last two. It never falls.
fn by_resources(resources: f64, [few, more, most]: [f64; 3]) -> f64 {
    let (more, most) = (more.max(few), most.max(more).max(few));
    let decades = resources.max(1.0).log10();
    let value = if decades <= 6.0 {
        few + (more - few) * (decades - 4.0) / 2.0
    } else {
        more + (most - more) * (decades - 6.0)
    };
    value.max(few)
}
