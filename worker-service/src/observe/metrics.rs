//! Describes the backbone's metrics of the worker; a domain describes its own. Counters that alerts use start at 0: a
//! counter that appears with its first increment shows no increase.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use shared::kafka::Reason;

pub fn describe() {
    shared::cache::describe();
    describe_histogram!(
        "accepted_to_visible_seconds",
        "Time from the API's acceptance of an event until no read returns an older state: its fence, or the latest \
         time at which the cache may be stale."
    );
    describe_counter!("events_total", "Events that had their effect, by outcome.");
    describe_histogram!("batch_records", "Records of a batch.");
    describe_histogram!("batch_duration_seconds", "Time of a batch's transaction and its fence.");
    describe_counter!("dead_letters_total", "Dead letters that Kafka acknowledged, by reason.");
    describe_counter!("panics_total", "Panics that were caught, by the consumer group or the task that they were of.");
    describe_gauge!("bytes_in_hand", "Bytes of records that all partitions hold, of MAX_BYTES_IN_HAND.");
    describe_gauge!("task_running", "1 while the task runs.");
    describe_gauge!("held_keys", "Keys whose events are held back until a retry, by partition.");
    describe_gauge!("consumer_lag_records", "Records that can be read and have no effect yet, by partition.");
    describe_gauge!("unstable_records", "Offsets that wait until another producer's transaction ends, by partition.");
    describe_gauge!(
        "unstable_age_seconds",
        "How long the same transaction has held up the partition, as far as this worker has seen."
    );
    describe_gauge!("partition_unreadable", "Whether a partition stands before records that cannot be read.");
    describe_gauge!("partition_stalled", "Whether a partition stands still for no known reason.");
    describe_counter!("partition_stalls_total", "How often a partition's runner was restarted because it stood still.");
    describe_gauge!(
        "commit_behind_records",
        "How far the broker's committed offset is behind the offset stored half a minute before, by partition."
    );
    describe_gauge!(
        "partition_held_full",
        "Whether a partition takes no more records because the limit of held events is reached."
    );
    describe_gauge!(
        "held_alone_keys",
        "Keys whose event alone meets an error that would count as an outage, by partition."
    );
    describe_gauge!(
        "watermark_age_seconds",
        "How long the first record that has no effect yet has been in the log, by partition; with CreateTime, how \
         long this worker has known that it is there."
    );
    describe_gauge!("partition_waiting", "Whether a partition waits out an outage.");
    describe_gauge!("partition_paused", "Whether a partition waits for an operator.");
    describe_gauge!(
        "worker_waiting",
        "Whether this worker waits out an outage, PostgreSQL's or Kafka's, with or without a partition."
    );
    describe_gauge!("assigned_partitions", "Partitions of the input topic that this worker has.");
    describe_gauge!("topic_partitions", "Partitions that the input topic has.");
    describe_counter!(
        "records_lost_total",
        "Records that were gone before they were consumed, and records that may have been lost."
    );
    describe_counter!(
        "records_passed_over_total",
        "Records without an effect in this group: other handlers' events, and what another group's dead letter was."
    );
    describe_counter!("commits_failed_total", "Commits of offsets that failed; the next one repeats them.");
}

/// Starts the metrics of a group whose events may have these outcomes.
pub fn begin_group(group: &str, outcomes: &[&'static str]) {
    let group = || ("group", group.to_owned());
    for outcome in outcomes {
        counter!("events_total", &[group(), ("outcome", (*outcome).to_owned())]).increment(0);
    }
    for reason in Reason::NAMES {
        counter!("dead_letters_total", &[group(), ("reason", reason.to_owned())]).increment(0);
    }
    let names = ["panics_total", "partition_stalls_total", "records_lost_total", "records_passed_over_total"];
    for name in names.into_iter().chain(["commits_failed_total"]) {
        counter!(name, &[group()]).increment(0);
    }
    for name in ["worker_waiting", "assigned_partitions"] {
        gauge!(name, &[group()]).set(0.0);
    }
}
