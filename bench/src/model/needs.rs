//! What a load needs of each part: arithmetic on the figures, without I/O.

use super::assumed::{
    API_CORES, BATCHES, CHECKPOINT, CONNECTIONS, DAY, FEWEST_PARTITIONS, FEWEST_TASKS, FREEZE, LEAST_TTL, MAX_WAL,
    MOST_PARTITIONS, PAGE, RANDOM_PAGES, REPLICAS, REQUESTS, TABLE, TTL, UNREUSED, WORKER_CORES, share,
};
use super::costs::Costs;
use super::figures::Figures;
use super::load::{Load, Server};

/// So many units, each of which carries a part of the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Count {
    pub(crate) load: f64,
    pub(crate) each: f64,
    pub(crate) count: f64,
}

impl Count {
    fn of(load: f64, each: f64, least: f64) -> Self {
        Self { load, each, count: (load / each).ceil().max(least) }
    }

    pub(crate) fn fits_one(&self) -> bool {
        self.load <= self.each
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Needs {
    pub(crate) events: f64,
    pub(crate) events_at_peak: f64,
    /// In cores.
    pub(crate) api: Count,
    pub(crate) partitions: Count,
    /// In cores.
    pub(crate) workers: Count,
    /// Of all tasks to PostgreSQL, at most.
    pub(crate) connections: f64,
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) caps: Redis,
}

/// Bytes, bytes a second, cores.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kafka {
    pub(crate) cores: f64,
    pub(crate) written: f64,
    pub(crate) disk: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Postgres {
    pub(crate) cores: f64,
    /// What is changed again and again, and should be in memory: states, and the last leaves of indexes.
    pub(crate) hot: f64,
    pub(crate) events: f64,
    pub(crate) indexes: f64,
    pub(crate) resources: f64,
    pub(crate) disk: f64,
    pub(crate) wal: f64,
    pub(crate) wal_a_day: f64,
    pub(crate) transactions: f64,
    pub(crate) writes: f64,
    /// Seconds between two vacuums that are forced by the age of transactions.
    pub(crate) freeze: f64,
    /// Of cores, memory, disk, and PostgreSQL's limit of a table.
    pub(crate) servers: [(&'static str, Count); 4],
    /// One worker at a time expires rows, so more servers do not help.
    pub(crate) expiry: Count,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Redis {
    pub(crate) commands: f64,
    pub(crate) memory: f64,
    /// In cores: each node has one thread.
    pub(crate) nodes: Count,
}

impl Postgres {
    /// The servers that it takes, and what one is short of. Of a distributed table each part has the limit of a table.
    pub(crate) fn servers(&self) -> (f64, &'static str) {
        let [cores, memory, disk, table] = self.servers.map(|(of, count)| (count.count, of));
        let two = (table.0.min(2.0), table.1);
        [cores, memory, disk, two].into_iter().fold((1.0, ""), |most, next| if next.0 > most.0 { next } else { most })
    }
}

/// What this load needs.
pub(crate) fn needs(load: &Load, figures: &Figures) -> Needs {
    let costs = Costs::of(figures, load);
    let events = load.devices * load.events_per_second;
    let (peak, impressions) = (events * load.peak, load.impressions * load.peak);
    let partition = costs.partition_rate * share::PARTITION;

    // A worker without a partition is idle, so there are as many partitions as workers. More partitions make more and
    // smaller batches, which cost more, so both are found step by step.
    let mut partitions = Count::of(peak.max(impressions), partition, FEWEST_PARTITIONS);
    let transactions = |partitions: f64| peak.min(partitions * BATCHES) + impressions.min(partitions * BATCHES);
    let workers = loop {
        let cores = (peak + impressions) * costs.worker.event + transactions(partitions.count) * costs.worker.batch;
        let workers = Count::of(cores, WORKER_CORES * share::WORKER, FEWEST_TASKS);
        if workers.count <= partitions.count {
            break workers;
        }
        partitions.count = workers.count;
    };
    let transactions = transactions(partitions.count);
    let reads = load.reads * load.peak;
    let misses = reads.min(load.devices / LEAST_TTL);

    let api = api(&costs, partitions.count, peak, reads, impressions);
    Needs {
        events,
        events_at_peak: peak,
        api,
        partitions,
        workers,
        connections: (api.count + workers.count) * CONNECTIONS,
        kafka: Kafka {
            cores: (peak * costs.kafka + impressions * costs.impression_kafka) * REPLICAS / share::KAFKA,
            written: (peak + impressions) * costs.record * REPLICAS,
            disk: (events + load.impressions) * costs.record * load.topic_retention * REPLICAS / share::DISK,
        },
        postgres: postgres(&costs, load, events, transactions, misses),
        redis: {
            let commands = reads + 2.0 * misses + transactions;
            let cores =
                (reads + 2.0 * misses) * costs.get + peak * costs.fence.event + transactions * costs.fence.batch;
            let memory = load.devices.min(reads * TTL) * costs.entry / share::MEMORY;
            Redis { commands, memory, nodes: Count::of(cores, share::REDIS, 1.0) }
        },
        caps: {
            let users = load.impressions * DAY / load.impressions_per_user;
            // Those of a day stay until the end of the next one.
            let memory = users * costs.cap * 2.0 / share::MEMORY;
            Redis {
                commands: impressions,
                memory,
                nodes: Count::of(impressions * costs.impression_redis, share::REDIS, 1.0),
            }
        },
    }
}

/// The tasks of the API. With many partitions each produce request has few events, at most one in 5 ms
/// for each partition and task: so more tasks make more requests, but never more than there are events.
fn api(costs: &Costs, partitions: f64, events: f64, reads: f64, impressions: f64) -> Count {
    let each = API_CORES * share::API;
    let fixed = events * costs.api.event + reads * costs.read + impressions * costs.impression_api;
    let of_a_task = partitions * REQUESTS * costs.api.batch;
    let all_alone = (fixed + events * costs.api.batch) / each;
    let batched = if of_a_task < each { fixed / (each - of_a_task) } else { f64::INFINITY };
    let count = all_alone.min(batched).ceil().max(FEWEST_TASKS);
    Count { load: fixed + events.min(count * partitions * REQUESTS) * costs.api.batch, each, count }
}

fn postgres(costs: &Costs, load: &Load, events: f64, transactions: f64, misses: f64) -> Postgres {
    let Server { cores, memory, disk } = load.server;
    let rows = (events + load.impressions) * (load.events_retention + UNREUSED);
    let (table, indexes, resources) = (rows * costs.row, rows * costs.index, load.devices * costs.resource);
    let busy = events * load.peak * costs.postgres.event
        + load.impressions * load.peak * costs.impression_postgres
        + transactions * costs.postgres.batch
        + misses * costs.miss
        + (events + load.impressions) * costs.expired;
    let hot = resources + indexes.min(load.devices * (RANDOM_PAGES - 1.0) * PAGE);
    let all = table + indexes + resources + MAX_WAL;
    let random = RANDOM_PAGES * events.min(load.devices / CHECKPOINT);
    Postgres {
        cores: busy / share::POSTGRES,
        hot,
        events: table,
        indexes,
        resources,
        disk: all / share::DISK,
        wal: (events + load.impressions) * load.peak * costs.wal,
        wal_a_day: (events + load.impressions) * costs.wal * DAY,
        transactions,
        writes: random + (events + load.impressions) * (costs.row + costs.index) / PAGE + transactions,
        freeze: FREEZE / transactions,
        servers: [
            ("cores", Count::of(busy, cores * share::POSTGRES, 1.0)),
            ("memory", Count::of(hot, memory * share::MEMORY, 1.0)),
            ("disk", Count::of(all, disk * share::DISK, 1.0)),
            ("size of a table", Count::of(table.max(indexes / 2.0), TABLE * share::DISK, 1.0)),
        ],
        expiry: Count::of(events + load.impressions, costs.expiry_rate * share::EXPIRY, 1.0),
    }
}

/// The most devices of this kind that each part carries, by name.
pub(crate) fn ends(load: &Load, figures: &Figures) -> Vec<(String, f64)> {
    type Fits = fn(&Needs) -> bool;
    let parts: [(&str, Fits); 4] = [
        ("one PostgreSQL: expiry, by one worker at a time", |needs| needs.postgres.expiry.fits_one()),
        ("Kafka and the workers: 10,000 partitions", |needs| needs.partitions.count <= MOST_PARTITIONS),
        ("one Redis: its thread", |needs| needs.redis.nodes.fits_one()),
        ("one Redis of caps: its thread", |needs| needs.caps.nodes.fits_one()),
    ];
    let of_a_server = needs(load, figures).postgres.servers.map(|(of, _)| of);
    let servers = of_a_server.into_iter().enumerate().map(|(place, of)| {
        let fits = move |needs: &Needs| needs.postgres.servers.get(place).is_some_and(|(_, count)| count.fits_one());
        (format!("one PostgreSQL: {of}"), most(load, figures, fits))
    });
    let others = parts.iter().take(if load.impressions > 0.0 { 4 } else { 3 });
    servers.chain(others.map(|(name, fits)| ((*name).to_owned(), most(load, figures, fits)))).collect()
}

/// The most devices with which it fits. All loads grow with the devices, so the answer is found by halving.
fn most(load: &Load, figures: &Figures, fits: impl Fn(&Needs) -> bool) -> f64 {
    let fits = |devices: f64| fits(&needs(&load.with_devices(devices), figures));
    let (mut good, mut bad) = (0.0, 1.0);
    while fits(bad) {
        (good, bad) = (bad, bad * 2.0);
        if bad > 1e15 {
            return f64::INFINITY;
        }
    }
    while bad - good > 1.0 {
        let middle = f64::midpoint(good, bad).floor();
        if fits(middle) { good = middle } else { bad = middle }
    }
    good
}
