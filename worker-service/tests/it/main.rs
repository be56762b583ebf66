//! Tests of the worker with real Kafka, PostgreSQL and Redis.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, its helpers too"
)]

mod added_partitions;
mod ads;
mod ads_books;
mod any_bytes;
mod closed_output;
mod compacted;
mod dead_letter_budget;
mod dead_letters;
mod device_names;
mod dlq_list;
mod effects;
mod encoding;
mod erase;
mod event_log;
mod expiry;
mod failing;
mod fences;
mod foreign_topics;
mod frozen;
mod gaps;
mod groups;
mod held_alone;
mod kit;
mod late_answers;
mod laws;
mod losses;
mod malformed;
mod memory;
mod missing_topic;
mod offset_fence;
mod one_stream;
mod outbox;
mod outbox_lost;
mod outbox_process;
mod outbox_restore;
mod packed;
mod panics;
mod placements;
mod prelude;
mod purge;
mod recreated_topic;
mod redrive;
mod refusing;
mod roles;
mod seek;
mod servers_away;
mod setup;
mod shutdown;
mod standing_still;
mod transactions;
mod two_groups;
mod unknown_types;
mod unreadable;
