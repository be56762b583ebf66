//! Where a redriven record first stood, by its `origin.` headers. `dlq redrive` writes them, and so can anybody: what
//! they say is believed only as far as it could be true, and can hold up no event that comes later.

use time::{Duration, OffsetDateTime};

use super::{Record, Refusal, header, number, poison, text};
use crate::kafka::position::{MADE_ANEW, Position};
use crate::kafka::record::from_millis;
use crate::kafka::topic_name;

/// The first place that a record names; none where it names no topic. An incomplete one, or one that cannot be, is refused.
///
/// In one partition the offset decides which of two events is the newer one. So an offset that lies beyond this record,
/// or in another partition, where nothing is known of it, counts only with a time that leaves it behind whatever is
/// appended from now on ([`Position::is_newer_than`]): as that of a topic that was made anew since then.
pub(super) fn of(record: &Record) -> Result<Option<Position>, Refusal> {
    let Some(topic) = text(record, header::ORIGIN_TOPIC)? else { return Ok(None) };
    topic_name(topic)
        .map_err(|_| Refusal::undecodable(format!("{} is not the name of a topic", header::ORIGIN_TOPIC)))?;
    let partition = from_nothing(header::ORIGIN_PARTITION, number(record, header::ORIGIN_PARTITION)?)?;
    let offset = from_nothing(header::ORIGIN_OFFSET, number(record, header::ORIGIN_OFFSET)?)?;
    // Not later than the record that says so: letters of earlier versions have the time of a producer's clock.
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

/// The latest time that is older than all that is appended from now on, whatever its offset. Kafka tells milliseconds.
fn settled(now: OffsetDateTime) -> OffsetDateTime {
    now.saturating_sub(MADE_ANEW + Duration::MILLISECOND)
}

fn from_nothing<N: PartialOrd + Default>(name: &str, number: N) -> Result<N, Refusal> {
    if number < N::default() { poison(format!("{name} is less than 0")) } else { Ok(number) }
}
