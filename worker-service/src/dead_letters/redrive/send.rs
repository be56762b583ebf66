//! Sends a letter's record back to its input topic.

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use shared::kafka::{self, Reason, Record, as_text, header};

use crate::dead_letters::producer::KEY_ABSENT;
use crate::dead_letters::reliable_producer::{ReliableProducer, owned};
use crate::dead_letters::summary::{MOST_REDRIVES, REDRIVES, redrives};
use crate::source::Source;

type Headers<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// The headers with a record's original position.
const ORIGIN: [&str; 4] =
    [header::ORIGIN_TOPIC, header::ORIGIN_PARTITION, header::ORIGIN_OFFSET, header::ORIGIN_TIMESTAMP];

#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error("{0}")]
    Kafka(#[from] KafkaError),
    /// A header's name is not text, or `dlq.headers` are malformed.
    #[error("it has headers that this client cannot write")]
    Headers,
    /// The record was sent alone, so it is too large itself. A redriven record has a few headers more than the original
    /// one.
    #[error("it is too large for the topic {0}: raise max.message.bytes")]
    TooLarge(String),
}

impl Unsent {
    /// Whether this letter cannot be sent, whatever happens to the others.
    pub(super) fn is_of_this_one(&self) -> bool {
        matches!(self, Self::Headers | Self::TooLarge(_))
    }
}

pub(super) struct Sender {
    topic: String,
    producer: ReliableProducer,
}

impl Sender {
    pub(super) fn new(client: &ClientConfig, source: &Source) -> anyhow::Result<Self> {
        let producer = ReliableProducer::new(client, &source.group).context("cannot create a Kafka client")?;
        Ok(Self { topic: source.topics.input.clone(), producer })
    }

    /// Sends one, and waits until all in-sync replicas have it. `redrives` is its new count.
    pub(super) async fn send(&self, letter: &Record, redrives: u32) -> Result<(i32, i64), Unsent> {
        let count = redrives.min(MOST_REDRIVES).to_string();
        let group = if is_of_no_group(letter) { "" } else { self.producer.group() };
        let headers = owned(headers(letter, &count, group).ok_or(Unsent::Headers)?);
        let (key, value) = (letter.key().filter(|_| letter.header(KEY_ABSENT).is_none()), letter.value());
        let delivered = self.producer.send(&self.topic, (key, value.as_deref()), headers).await;
        delivered.map_err(|error| match error.rdkafka_error_code() {
            Some(code) if kafka::is_too_large(code) => Unsent::TooLarge(self.topic.clone()),
            _ => error.into(),
        })
    }
}

/// Whether no group had accepted the record. Then it is redriven for all groups: each may know its type by now.
fn is_of_no_group(letter: &Record) -> bool {
    let said = letter.header("dlq.reason");
    let of_none = [Reason::Undecodable, Reason::UnknownType, Reason::Unreadable];
    of_none.iter().any(|reason| said == Some(reason.as_str().as_bytes()))
}

/// The record's own headers, its origin, the count, and the group that it is redriven for. An existing origin stays,
/// even if the record failed elsewhere since: it identifies the event. Headers that only look like these are the
/// record's own and stay, too; the last of a name counts. `None` if a header cannot be written.
fn headers<'a>(letter: &'a Record, count: &'a str, group: &'a str) -> Option<Headers<'a>> {
    let own = letter.original_headers()?;
    let own = own.into_iter().map(|(name, value)| Some((as_text(name)?, value))).collect::<Option<Headers<'a>>>()?;
    let origin = own.iter().rev().find(|(name, _)| *name == header::ORIGIN_TOPIC);
    let keeps_origin = origin.is_some_and(|(_, value)| value.is_some());
    let mut headers = own;
    if !keeps_origin {
        headers.retain(|(name, _)| !ORIGIN.contains(name));
    }
    // The previous count is the last header of its name. If the worker did not write it, it stays as the record's own.
    let is_ours = {
        let all: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), *value)).collect();
        redrives(&Record::from_bytes(None, None, &all)).is_some()
    };
    if is_ours && let Some(last) = headers.iter().rposition(|(name, _)| *name == REDRIVES) {
        headers.remove(last);
        if let Some(last) = headers.iter().rposition(|(name, _)| *name == header::REDRIVE_GROUP) {
            headers.remove(last);
        }
    }
    if !keeps_origin {
        let from = ["dlq.topic", "dlq.partition", "dlq.offset", "dlq.timestamp"];
        headers.extend(ORIGIN.into_iter().zip(from.map(|name| letter.header(name))));
    }
    headers.push((REDRIVES, Some(count.as_bytes())));
    headers.push((header::REDRIVE_GROUP, Some(group.as_bytes())));
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIED: [(&str, Option<&[u8]>); 7] = [
        ("x", Some(b"1")),
        ("dlq.reason", Some(b"failed")),
        ("dlq.topic", Some(b"in")),
        ("dlq.partition", Some(b"1")),
        ("dlq.offset", Some(b"5")),
        ("dlq.timestamp", Some(b"1000")),
        ("x", None),
    ];
    const FIRST: [(&str, Option<&[u8]>); 4] = [
        ("origin.topic", Some(b"in")),
        ("origin.partition", Some(b"1")),
        ("origin.offset", Some(b"5")),
        ("origin.timestamp", Some(b"1000")),
    ];

    #[test]
    fn the_first_place_is_set_once() {
        let letter = Record::new(None, None, &DIED);
        let first = headers(&letter, "1", "g").unwrap();
        let mut expected = vec![("x", Some(&b"1"[..])), ("x", None)];
        expected.extend(FIRST);
        expected.extend([("redrive.count", Some(&b"1"[..])), ("redrive.group", Some(b"g"))]);
        assert_eq!(first, expected);

        // It fails again, elsewhere.
        let again: Vec<_> =
            first.into_iter().chain([("dlq.topic", Some(&b"in"[..])), ("dlq.offset", Some(b"99"))]).collect();
        let letter = Record::new(None, None, &again);
        expected.truncate(expected.len() - 2);
        expected.extend([("redrive.count", Some(&b"2"[..])), ("redrive.group", Some(b"g"))]);
        assert_eq!(headers(&letter, "2", "g"), Some(expected));
    }

    #[test]
    fn what_no_group_had_taken_is_for_all_of_them() {
        let died_of =
            |reason: &str| is_of_no_group(&Record::new(None, None, &[("dlq.reason", Some(reason.as_bytes()))]));
        assert!(died_of("undecodable") && died_of("unknown_type"));
        assert!(!died_of("failed") && !died_of("panicked") && !died_of("none of ours"));
    }

    #[test]
    fn headers_that_are_encoded_go_back_as_they_were() {
        let died = |encoded: &'static [u8]| {
            let mut died = DIED.to_vec();
            died.retain(|(name, _)| *name != "x");
            died.push(("dlq.headers", Some(encoded)));
            Record::new(None, None, &died)
        };
        let letter = died(b"\x04\x02x\x021\x0adlq.x\x01");
        let found = headers(&letter, "1", "g").unwrap();
        assert_eq!(found[..2], [("x", Some(&b"1"[..])), ("dlq.x", None)]);
        assert_eq!((&found[2..6], found.len()), (&FIRST[..], 8));
        assert_eq!(headers(&died(b"\x02\x02\xff\x01"), "1", "g"), None);
        assert_eq!(headers(&died(b"?"), "1", "g"), None);
    }

    #[test]
    fn half_a_first_place_is_none() {
        let mut half = DIED.to_vec();
        half.push(("origin.offset", Some(b"77")));
        let letter = Record::new(None, None, &half);
        let found = headers(&letter, "1", "g").unwrap();
        assert_eq!(found.iter().filter(|(name, _)| *name == "origin.offset").count(), 1);
        assert_eq!(found[2..6], FIRST);
    }

    /// They only look like the worker's.
    #[test]
    fn a_strangers_headers_stay_as_they_came() {
        let strange: [(&str, Option<&[u8]>); 4] = [
            ("origin.country", Some(b"de")),
            ("redrive.count", Some(b"many")),
            ("redrive.count", Some(b"7")),
            ("redrive.counts", Some(b"7")),
        ];
        let with_strange = |more: &[(&'static str, Option<&'static [u8]>)]| {
            let all: Vec<_> = strange.iter().chain(more).chain(&DIED).copied().collect();
            Record::new(None, None, &all)
        };
        let letter = with_strange(&[]);
        let found = headers(&letter, "1", "g").unwrap();
        let mut expected = strange.to_vec();
        expected.extend([("x", Some(&b"1"[..])), ("x", None)]);
        expected.extend(FIRST);
        expected.extend([("redrive.count", Some(&b"1"[..])), ("redrive.group", Some(b"g"))]);
        assert_eq!(found, expected);
        // It fails again: only the worker's own count is replaced.
        let again: Vec<_> = found.iter().chain(&DIED[1..6]).copied().collect();
        let letter = Record::new(None, None, &again);
        assert_eq!(redrives(&letter), Some(1));
        let count = expected.len() - 2;
        expected[count].1 = Some(b"2");
        assert_eq!(headers(&letter, "2", "g"), Some(expected));
    }
}
