//! A record as it was read, held until its event has had its effect.

use std::ops::Range;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::Headers;
use time::OffsetDateTime;

/// A record of a topic, in one piece of memory that its parts share.
///
/// It is kept as it was, because a dead letter carries key, value and headers unchanged.
#[derive(Debug, Clone)]
pub struct Record {
    /// The topic it was read from.
    pub topic: String,
    /// The partition it was read from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its timestamp: the broker's append time where the topic is set up as it should be.
    pub timestamp: OffsetDateTime,
    buffer: Bytes,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

impl Record {
    /// Copies a message out of the client's memory.
    pub fn of(message: &impl Message) -> Self {
        let headers: Vec<_> = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter().map(|header| (header.key, header.value)))
            .collect();
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: from_millis(message.timestamp().to_millis().unwrap_or(0)),
            ..Self::new(message.key(), message.payload(), &headers)
        }
    }

    /// A record from its parts; its place is `("", 0, 0)` at the Unix epoch, for the caller to set.
    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> Self {
        let mut buffer = Vec::with_capacity(
            key.map_or(0, <[u8]>::len)
                + value.map_or(0, <[u8]>::len)
                + headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum::<usize>(),
        );
        let mut put = |part: &[u8]| {
            let start = buffer.len();
            buffer.extend_from_slice(part);
            start..buffer.len()
        };
        let key = key.map(&mut put);
        let value = value.map(&mut put);
        let headers = headers.iter().map(|(name, value)| (put(name.as_bytes()), value.map(&mut put))).collect();
        Self {
            topic: String::new(),
            partition: 0,
            offset: 0,
            timestamp: OffsetDateTime::UNIX_EPOCH,
            buffer: buffer.into(),
            key,
            value,
            headers,
        }
    }

    /// The key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|range| self.part(range))
    }

    /// The value; sharing this record's memory. `None` is a tombstone.
    pub fn value(&self) -> Option<Bytes> {
        let range = self.value.clone()?;
        Some(self.buffer.slice(range))
    }

    /// Every header in order, names repeated as they were.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| {
            // It came from a `&str`.
            let name = std::str::from_utf8(self.part(name)).unwrap_or_default();
            (name, value.as_ref().map(|range| self.part(range)))
        })
    }

    /// The last header of this name that has a value: what Kafka clients call `lastHeader`.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .rev()
            .find(|(range, _)| self.part(range) == name.as_bytes())
            .and_then(|(_, value)| value.as_ref().map(|range| self.part(range)))
    }

    /// What it takes in memory, in bytes, nearly.
    pub fn size(&self) -> usize {
        self.buffer.len() + self.headers.len() * size_of::<(Range<usize>, Option<Range<usize>>)>() + size_of::<Self>()
    }

    /// Whether it was redriven from the dead-letter topic.
    pub fn is_redriven(&self) -> bool {
        self.header(super::header::ORIGIN_TOPIC).is_some()
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.buffer.get(range.clone()).unwrap_or_default()
    }
}

/// Milliseconds since the Unix epoch as a time; outside the years that can be told, the epoch.
pub(super) fn from_millis(millis: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_as_they_went_in() {
        let headers = [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&b""[..]))];
        let record = Record::new(Some(b"key"), Some(b"value"), &headers);
        assert_eq!(record.key(), Some(&b"key"[..]));
        assert_eq!(record.value().unwrap(), "value");
        assert_eq!(record.headers().collect::<Vec<_>>(), headers);
        assert_eq!(record.header("a"), Some(&b""[..]), "the last one counts");
        assert_eq!(record.header("b"), None);
        let empty = Record::new(None, None, &[]);
        assert_eq!((empty.key(), empty.value()), (None, None));
        assert_eq!(Record::new(Some(b""), Some(b""), &[]).key(), Some(&b""[..]), "empty is not absent");
    }
}
