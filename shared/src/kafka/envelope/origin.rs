//! The original position of a redriven record, from its `origin.` headers. `dlq redrive` writes them, but any producer
//! can: so implausible values are rejected or adjusted, and no value can make a later event look older.

use time::{Duration, OffsetDateTime};

use super::{Record, Refusal, header, number, poison, text};
use crate::kafka::position::{MADE_ANEW, Position};
use crate::kafka::record::from_millis;
use crate::kafka::topic_name;

/// The original position that a record names; `None` if it names no topic. An incomplete or impossible one is rejected.
///
/// In one partition the greater offset is newer. So an offset after this record, or an unverifiable one in another
/// partition, is accepted only with an append time that makes every later record newer ([`Position::is_newer_than`]),
/// as if the topic had been recreated since then.
pub(super) fn of(record: &Record) -> Result<Option<Position>, Refusal> {
    let Some(topic) = text(record, header::ORIGIN_TOPIC)? else { return Ok(None) };
    topic_name(topic)
        .map_err(|_| Refusal::undecodable(format!("{} is not the name of a topic", header::ORIGIN_TOPIC)))?;
    let partition = from_nothing(header::ORIGIN_PARTITION, number(record, header::ORIGIN_PARTITION)?)?;
    let offset = from_nothing(header::ORIGIN_OFFSET, number(record, header::ORIGIN_OFFSET)?)?;
    // Not later than this record: dead letters of earlier versions have the time of a producer's clock.
    let said = from_millis(number(record, header::ORIGIN_TIMESTAMP)?).min(record.timestamp);
    let is_here = topic == record.topic && partition == record.partition;
    let appended_at = if topic != record.topic || is_here && offset < record.offset {
        said
    } else if is_here && said > settled(record.timestamp) {
        return poison(format!(
            "{} is not before the record's own offset, in the same partition and minute",
            header::ORIGIN_OFFSET
        ));
    } else {
        said.min(settled(record.timestamp))
    };
    let topic = topic.to_owned();
    Ok(Some(Position { topic, partition, offset, appended_at, redriven: true, create_time: record.create_time }))
}

/// The latest append time that makes every record appended from now on newer, whatever its offset. Kafka's times are in
/// milliseconds.
fn settled(now: OffsetDateTime) -> OffsetDateTime {
    now.saturating_sub(MADE_ANEW + Duration::MILLISECOND)
}

fn from_nothing<N: PartialOrd + Default>(name: &str, number: N) -> Result<N, Refusal> {
    if number < N::default() { poison(format!("{name} is less than 0")) } else { Ok(number) }
}
