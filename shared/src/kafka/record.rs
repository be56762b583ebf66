//! A record as it was read, kept until its event is processed.

use std::ops::Range;

use bytes::Bytes;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Timestamp};
use time::OffsetDateTime;

use super::client_headers::{self, Header};

/// A record of a topic, in one buffer that its parts share.
///
/// It is kept unchanged, because a dead letter has the same key, value and headers.
#[derive(Debug, Clone)]
pub struct Record {
    /// The topic it was read from.
    pub topic: String,
    /// The partition it was read from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When the broker appended it, by the broker's clock. If the topic has `CreateTime`, the producer's time, but no
    /// later than when the record was read here: a producer's fast clock must not make a record newer.
    pub timestamp: OffsetDateTime,
    /// Whether the producer's clock set `timestamp`.
    pub create_time: bool,
    buffer: Bytes,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
    /// Whether reading its headers failed, so that `headers` is empty.
    headers_unread: bool,
}

impl Record {
    /// Copies a message out of the client's memory.
    pub fn of(mut message: BorrowedMessage<'_>) -> Self {
        Self::read(&mut message)
    }

    /// The same; the caller keeps the message.
    pub fn read(message: &mut BorrowedMessage<'_>) -> Self {
        let size = message.key_len() + message.payload_len();
        let read = client_headers::headers(message);
        let headers_unread = read.is_err();
        let parts = Parts::of(&read.unwrap_or_default(), size);
        Self { headers_unread, ..Self::with(parts, message) }
    }

    /// The same without its headers, if reading them failed.
    pub fn without_headers(message: &BorrowedMessage<'_>) -> Self {
        let parts = Parts::of(&[], message.key_len() + message.payload_len());
        Self { headers_unread: true, ..Self::with(parts, message) }
    }

    fn with(mut parts: Parts, message: &BorrowedMessage<'_>) -> Self {
        let (topic, partition, offset) = (message.topic().to_owned(), message.partition(), message.offset());
        let (timestamp, create_time) = time_of(message.timestamp(), OffsetDateTime::now_utc());
        let (key, value) = (parts.put(message.key()), parts.put(message.payload()));
        Self { topic, partition, offset, timestamp, create_time, ..parts.end(key, value) }
    }

    /// A record from its parts; its position is `("", 0, 0)` at the Unix epoch, for the caller to set.
    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> Self {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), *value)).collect();
        Self::from_bytes(key, value, &headers)
    }

    /// The same, with names that may be any bytes.
    pub fn from_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> Self {
        let mut parts = Parts::of(headers, key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len));
        let (key, value) = (parts.put(key), parts.put(value));
        parts.end(key, value)
    }

    /// When the broker appended it; `None` if the producer's clock set its time.
    pub fn appended_at(&self) -> Option<OffsetDateTime> {
        (!self.create_time).then_some(self.timestamp)
    }

    /// The key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|range| self.part(range))
    }

    /// The value, which shares this record's memory. `None` is a tombstone.
    pub fn value(&self) -> Option<Bytes> {
        let range = self.value.clone()?;
        Some(self.buffer.slice(range))
    }

    /// Every header in order, including repeated names. A name may be any bytes.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.headers.iter().map(|(name, value)| (self.part(name), value.as_ref().map(|range| self.part(range))))
    }

    /// The value of the last header with this name, as `lastHeader` of Kafka clients. If the last one is null, there is
    /// no value, whatever the earlier ones are.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.headers.iter().rev().find(|(range, _)| self.part(range) == name.as_bytes())?;
        value.as_ref().map(|range| self.part(range))
    }

    /// Whether its headers are missing here because they could not be read: there are more than 100,000, the client
    /// cannot parse them, or reading them failed.
    pub fn headers_are_unread(&self) -> bool {
        self.headers_unread
    }

    /// Its approximate size in memory, in bytes.
    pub fn size(&self) -> usize {
        self.buffer.len() + self.headers.len() * size_of::<(Range<usize>, Option<Range<usize>>)>() + size_of::<Self>()
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.buffer.get(range.clone()).unwrap_or_default()
    }
}

/// A record under construction.
struct Parts {
    buffer: Vec<u8>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

impl Parts {
    /// Copies the headers, and reserves `more` bytes.
    fn of(headers: &[Header<'_>], more: usize) -> Self {
        let size: usize = headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
        let mut parts = Self { buffer: Vec::with_capacity(size + more), headers: Vec::with_capacity(headers.len()) };
        for (name, value) in headers {
            let header = (parts.append(name), parts.put(*value));
            parts.headers.push(header);
        }
        parts
    }

    fn put(&mut self, part: Option<&[u8]>) -> Option<Range<usize>> {
        part.map(|part| self.append(part))
    }

    fn append(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(part);
        start..self.buffer.len()
    }

    fn end(self, key: Option<Range<usize>>, value: Option<Range<usize>>) -> Record {
        Record {
            topic: String::new(),
            partition: 0,
            offset: 0,
            timestamp: OffsetDateTime::UNIX_EPOCH,
            create_time: false,
            buffer: self.buffer.into(),
            key,
            value,
            headers: self.headers,
            headers_unread: false,
        }
    }
}

/// When a record counts as appended, and whether the producer's clock says so; `now` is when it is read.
fn time_of(timestamp: Timestamp, now: OffsetDateTime) -> (OffsetDateTime, bool) {
    match timestamp {
        Timestamp::LogAppendTime(millis) => (from_millis(millis), false),
        // Compared before the conversion: a time beyond the supported years is also in the future.
        Timestamp::CreateTime(millis) if i128::from(millis) * 1_000_000 > now.unix_timestamp_nanos() => (now, true),
        Timestamp::CreateTime(millis) => (from_millis(millis), true),
        // The producer set no time.
        Timestamp::NotAvailable => (now, true),
    }
}

/// Milliseconds since the Unix epoch as a time; outside the supported years, the epoch.
pub(super) fn from_millis(millis: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::DeviceStream;
    use crate::kafka::Stream as _;

    #[test]
    fn parts_come_back_as_they_went_in() {
        let headers = [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&b""[..]))];
        let record = Record::new(Some(b"key"), Some(b"value"), &headers);
        assert_eq!(record.key(), Some(&b"key"[..]));
        assert_eq!(record.value().unwrap(), "value");
        let as_bytes = headers.map(|(name, value)| (name.as_bytes(), value));
        assert_eq!(record.headers().collect::<Vec<_>>(), as_bytes);
        assert_eq!(record.header("a"), Some(&b""[..]), "the last one counts");
        assert_eq!(record.header("b"), None);
        let empty = Record::new(None, None, &[]);
        assert_eq!((empty.key(), empty.value()), (None, None));
        assert_eq!(Record::new(Some(b""), Some(b""), &[]).key(), Some(&b""[..]), "empty is not absent");
    }

    #[test]
    fn a_null_behind_a_value_counts() {
        let record = Record::new(None, None, &[("a", Some(b"1")), ("b", None), ("a", None), ("b", Some(b"2"))]);
        assert_eq!((record.header("a"), record.header("b")), (None, Some(&b"2"[..])));
    }

    proptest::proptest! {
        #[test]
        fn a_producers_clock_that_is_ahead_makes_no_record_newer_than_it_is(
            millis: i64, near in -10_000_i64..10_000, seen in 0_i64..4_000_000_000_000,
        ) {
            let now = from_millis(seen);
            for millis in [millis, seen + near, seen] {
                let (time, create_time) = time_of(Timestamp::CreateTime(millis), now);
                assert!(create_time && time <= now, "{time}");
                assert!(millis > seen || time == from_millis(millis), "what is past stays as it was told");
                assert!(millis < seen || time == now, "{time}");
                assert_eq!(time_of(Timestamp::LogAppendTime(millis), now), (from_millis(millis), false), "the broker's");
            }
            assert_eq!(time_of(Timestamp::NotAvailable, now), (now, true));
        }
    }

    /// The client does not say why it could not read the headers.
    #[test]
    fn of_headers_that_were_not_read_it_is_not_said_that_they_are_too_many() {
        let record = Record { headers_unread: true, ..Record::new(None, None, &[]) };
        let error = crate::kafka::decode(&record, &DeviceStream::SPEC).unwrap_err().error;
        for part in
            ["could not be read", "more than 100,000", "or they are not encoded", "the dead letter does not have them"]
        {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_name_may_be_any_bytes() {
        let headers: [(&[u8], Option<&[u8]>); 3] = [(b"\xff", Some(b"1")), (b"a\0b", None), (b"", Some(b""))];
        let record = Record::from_bytes(None, None, &headers);
        assert_eq!(record.headers().collect::<Vec<_>>(), headers);
        assert_eq!(record.header("a"), None, "it is not cut at the NUL");
    }
}
