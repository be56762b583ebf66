//! What the model assumes: shares, settings of the services, and limits of the servers.

/// How much of each part the load may take at its peak. The rest is for failovers, backlogs and uneven keys.
pub(super) mod share {
    /// Of an API task's core: `scaling.cpu` in `infra/terraform/services.tf`.
    pub(in crate::model) const API: f64 = 0.60;
    /// Of a worker task's core: as much again is left to catch up after an outage.
    pub(in crate::model) const WORKER: f64 = 0.50;
    pub(in crate::model) const PARTITION: f64 = 0.50;
    pub(in crate::model) const KAFKA: f64 = 0.50;
    /// Of PostgreSQL's cores. Nothing beyond two of them was measured.
    pub(in crate::model) const POSTGRES: f64 = 0.50;
    pub(in crate::model) const REDIS: f64 = 0.50;
    pub(in crate::model) const MEMORY: f64 = 0.75;
    pub(in crate::model) const DISK: f64 = 0.80;
    /// Of the rate at which events expire.
    pub(in crate::model) const EXPIRY: f64 = 0.80;
}

/// The tasks of `infra/terraform/services.tf`: cores of one, and the fewest.
pub(super) const API_CORES: f64 = 1.0;
pub(super) const WORKER_CORES: f64 = 0.5;
pub(super) const FEWEST_TASKS: f64 = 2.0;
pub(super) const FEWEST_PARTITIONS: f64 = shared::kafka::topics::setup::DEFAULT_PARTITIONS as f64;
/// The most that `TOPIC_PARTITIONS` accepts.
pub(super) const MOST_PARTITIONS: f64 = 10_000.0;
/// Produce requests a second of one task to one partition: events gather for 5 ms at most
/// (`api-service/src/ingest/producer/gather.rs`), and hardly for less where Kafka is as busy as the model lets it be.
pub(super) const REQUESTS: f64 = 200.0;
/// Transactions a second of one partition: small batches are 10 ms apart where one takes 3 ms or more
/// (`worker-service/src/consumer/partition.rs`).
pub(super) const BATCHES: f64 = 100.0;
/// `DATABASE_MAX_CONNECTIONS` of each process.
pub(super) const CONNECTIONS: f64 = 10.0;
/// `TOPIC_REPLICATION`.
pub(super) const REPLICAS: f64 = 3.0;
/// `CACHE_TTL`, and the least that its jitter leaves of it.
pub(super) const TTL: f64 = 60.0;
pub(super) const LEAST_TTL: f64 = 54.0;
/// Expiry and autovacuum run once a minute each, so that the table has the rows of two more minutes.
pub(super) const UNREUSED: f64 = 120.0;
/// The pages that an event changes at random places: its resource, and a leaf of either index of `events`.
pub(super) const RANDOM_PAGES: f64 = 3.0;
pub(super) const PAGE: f64 = 8_192.0;
/// `checkpoint_timeout` of the row `growth`, in seconds: a page is written once in this time, however often it changes.
pub(super) const CHECKPOINT: f64 = 900.0;
/// `max_wal_size` of the row `growth`.
pub(super) const MAX_WAL: f64 = 16.0 * GIB;
/// PostgreSQL's limit of a table, and of an index, with pages of 8 KiB.
pub(super) const TABLE: f64 = 32.0 * TIB;
/// `autovacuum_freeze_max_age`: after so many transactions a vacuum is forced.
pub(super) const FREEZE: f64 = 200e6;
pub(super) const DAY: f64 = 86_400.0;
pub(super) const MIB: f64 = 1_048_576.0;
pub(super) const GIB: f64 = 1_073_741_824.0;
pub(super) const TIB: f64 = 1_024.0 * GIB;
