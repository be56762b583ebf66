//! Tests of the real server, in this process, with real Kafka, PostgreSQL and Redis.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may fail loudly"
)]

mod access_log;
mod ads_admission;
mod ads_campaigns;
mod ads_events;
mod ads_kit;
mod ads_locks;
mod ads_repeats;
mod ads_reports;
mod app;
mod bad_tokens;
mod batch;
mod batch_kafka_away;
mod binary;
mod broken_settings;
mod cloud_events;
mod commands;
mod compression;
mod contract;
mod cors;
mod deadlines;
mod device_names;
mod discovery;
mod docs;
mod encodings;
mod event_log;
mod forwarders;
mod framing;
mod grafana;
mod half_close;
mod health;
mod history;
mod hostile;
mod http;
mod internal_port;
mod issuer;
mod limits;
mod lingering;
mod list;
mod missing_topic;
mod other_protocols;
mod own_domain;
mod placements_bulk;
mod placements_check;
mod placements_commands;
mod placements_files;
mod placements_held;
mod placements_keys;
mod placements_kit;
mod placements_reads;
mod placements_rights;
mod placements_videos;
mod preference;
mod prelude;
mod producer_reborn;
mod published_keys;
mod query;
mod read;
mod read_degraded;
mod read_races;
mod real_issuers;
mod record_sizes;
mod replicas;
mod shutdown;
mod shutdown_flush;
mod sized;
mod slow_bodies;
mod submit;
mod tables;
mod topic;
mod unknown_limits;
mod walk;
mod webhook;
