//! Sends dead letters, and reports them as sent only when Kafka has acknowledged them.

use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use shared::kafka::topics::setup::MAX_DEAD_LETTER_BYTES;
use shared::kafka::{self, DeadLetter, LetterHeaders};
use time::OffsetDateTime;

use super::reliable_producer::{ReliableProducer, owned};
use crate::observe::panics::{self, Panicked};
use crate::observe::trace;

/// Generous estimate of a record's size beyond its key, value and headers.
const OVERHEAD: usize = 512;
/// A letter is not cut further: its own headers need about as much.
const LEAST_BYTES: usize = 2048;

pub struct DeadLetters {
    topic: String,
    producer: ReliableProducer,
}

impl DeadLetters {
    pub fn new(client: &ClientConfig, topic: &str, group: &str) -> anyhow::Result<Self> {
        Ok(Self { topic: topic.to_owned(), producer: ReliableProducer::new(client, group)? })
    }

    /// Sends letters, and returns each with its result: `Ok` only when all in-sync replicas have it. After an error, a
    /// letter may have been written nevertheless.
    pub async fn send(&self, letters: Vec<DeadLetter>) -> Vec<(DeadLetter, Result<(), String>)> {
        // Panics are caught one by one: a letter that triggers a defect must not keep the others back.
        let one = async |letter: &DeadLetter| match panics::caught_async(self.send_one(letter)).await {
            Ok(sent) => sent,
            Err(panicked) => {
                panicked.tell(self.producer.group(), letter.record.partition);
                Err(panicked.to_string())
            }
        };
        let sent = join_all(letters.iter().map(one)).await;
        for (letter, _) in letters.iter().zip(&sent).filter(|(_, sent)| sent.is_ok()) {
            let labels =
                || [("group", self.producer.group().to_owned()), ("reason", letter.reason.as_str().to_owned())];
            let count = || metrics::counter!("dead_letters_total", &labels()).increment(1);
            self.tell(letter, panics::caught(count));
        }
        letters.into_iter().zip(sent).collect()
    }

    /// Halves the size until the letter fits, if it is too large for the client or for the broker, whose limit is
    /// unknown.
    async fn send_one(&self, letter: &DeadLetter) -> Result<(), String> {
        let (value, group) = (letter.record.value(), self.producer.group());
        let (key, failed_at) = (letter.record.key(), OffsetDateTime::now_utc());
        let sent = |mut headers: LetterHeaders, is_cut: bool| {
            headers.extend(is_cut.then(|| truncated(value.as_deref())));
            Sent { key, value: value.as_deref(), headers }
        };
        let whole = || sent(letter.headers(group, failed_at), letter.record.headers_are_unread());
        let bare = || sent(letter.our_headers(group, failed_at), true);
        let mut whole = whole_or_bare(group, letter, whole, bare).map_err(|panicked| panicked.to_string())?;
        let span = self.tell(letter, panics::caught(|| trace::begin_dead_letter(letter, &self.topic))).flatten();
        let mut sent = self.deliver(&whole).await;
        if whole.key.is_none() && is_invalid(&sent) {
            whole = whole.with_a_key();
            sent = self.deliver(&whole).await;
        }
        let mut room = MAX_DEAD_LETTER_BYTES;
        while is_too_large(&sent) && room > LEAST_BYTES {
            if room < whole.size() {
                sent = self.deliver(&whole.cut(room)).await;
            }
            room /= 2;
        }
        self.tell(letter, panics::caught(|| span.map(|span| trace::end_dead_letter(span, sent.as_ref().err()))));
        sent.map_err(|error| error.to_string())
    }

    async fn deliver(&self, letter: &Sent<'_>) -> Result<(), KafkaError> {
        let headers = owned(letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
        self.producer.send(&self.topic, (letter.key, letter.value), headers).await.map(|_| ())
    }

    /// Reports a panic in code whose result is not needed.
    fn tell<T>(&self, letter: &DeadLetter, result: Result<T, Panicked>) -> Option<T> {
        result.map_err(|panicked| panicked.tell(self.producer.group(), letter.record.partition)).ok()
    }
}

/// The whole letter, or, if building it panics, one without its record's headers, which needs less code.
fn whole_or_bare<'a>(
    group: &str,
    letter: &DeadLetter,
    whole: impl FnOnce() -> Sent<'a>,
    bare: impl FnOnce() -> Sent<'a>,
) -> Result<Sent<'a>, Panicked> {
    panics::caught(whole).or_else(|panicked| {
        panicked.tell(group, letter.record.partition);
        panics::caught(bare)
    })
}

fn is_too_large(sent: &Result<(), KafkaError>) -> bool {
    matches!(sent, Err(KafkaError::MessageProduction(code)) if kafka::is_too_large(*code))
}

/// A compacted topic refuses records without a key.
fn is_invalid(sent: &Result<(), KafkaError>) -> bool {
    matches!(sent, Err(KafkaError::MessageProduction(RDKafkaErrorCode::InvalidRecord)))
}

#[derive(Debug)]
struct Sent<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: LetterHeaders,
}

impl Sent<'_> {
    /// The same with an empty key, and a header that says that the record had none.
    fn with_a_key(mut self) -> Self {
        self.key = Some(b"");
        self.headers.push((KEY_ABSENT.to_owned(), Some(b"true".to_vec())));
        self
    }

    fn size(&self) -> usize {
        OVERHEAD + self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + size_of_headers(&self.headers)
    }

    /// The same, cut to this many bytes: first the value, then all headers of the record (the letter's own stay), at
    /// last the key, because a record that cannot be sent would block its partition. `dlq.truncated` has the value's
    /// original size, `dlq.key_truncated` the key's.
    fn cut(&self, room: usize) -> Self {
        let room = room.saturating_sub(OVERHEAD);
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| name == TRUNCATED) {
            headers.push(truncated(self.value));
        }
        let (mut key, mut left) = (self.key, room.saturating_sub(size_of_headers(&headers)));
        let key_size = key.map_or(0, <[u8]>::len);
        if key_size > left || size_of_headers(&headers) > room {
            headers.retain(|(name, _)| name.starts_with("dlq.") && name != "dlq.headers");
            left = room.saturating_sub(size_of_headers(&headers));
        }
        if key_size > left {
            headers.push(("dlq.key_truncated".to_owned(), Some(key_size.to_string().into_bytes())));
            left = room.saturating_sub(size_of_headers(&headers));
            key = key.and_then(|key| key.get(..left));
        }
        left = left.saturating_sub(key.map_or(0, <[u8]>::len));
        let value = self.value.map(|value| value.get(..left).unwrap_or(value));
        Self { key, value, headers }
    }
}

/// Marks a letter that was cut; has the original size of its value.
const TRUNCATED: &str = "dlq.truncated";

/// Marks a record that had no key.
pub(crate) const KEY_ABSENT: &str = "dlq.key_absent";

fn truncated(value: Option<&[u8]>) -> (String, Option<Vec<u8>>) {
    (TRUNCATED.to_owned(), Some(value.map_or(0, <[u8]>::len).to_string().into_bytes()))
}

fn size_of_headers(headers: &[(String, Option<Vec<u8>>)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len) + 16).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::kafka::{Reason, Record};

    fn whole<'a>(key: &'a [u8], value: &'a [u8], header: usize) -> Sent<'a> {
        let record = Record::new(Some(key), Some(value), &[("big", Some(&vec![b'h'; header]))]);
        let letter = DeadLetter { record, reason: Reason::Undecodable, error: String::new(), attempts: 1 };
        Sent { key: Some(key), value: Some(value), headers: letter.headers("g", OffsetDateTime::UNIX_EPOCH) }
    }

    #[test]
    fn what_is_too_large_is_cut_to_fit() {
        let key = vec![b'k'; 3 << 20];
        for (key_size, value, header, kept) in [
            (1, 2 << 20, 100, true),
            (1, 100, 2 << 20, false),
            (1, 2 << 20, 2 << 20, false),
            (1 << 20, 2 << 20, 2 << 20, false),
            (3 << 20, 100, 100, false),
            (3 << 20, 2 << 20, 2 << 20, false),
        ] {
            for room in [MAX_DEAD_LETTER_BYTES, 50_000, 2 * LEAST_BYTES] {
                let whole_value = vec![b'v'; value];
                let whole = whole(&key[..key_size], &whole_value, header);
                let cut = whole.cut(room);
                assert!(cut.size() <= room, "{} of {room}", cut.size());
                let is_whole = (cut.key, cut.value) == (whole.key, whole.value);
                assert!(is_whole || room - cut.size() < 100, "no more is cut than has to be");
                let header = |name: &str| {
                    let (_, value) = cut.headers.iter().find(|(found, _)| found == name)?;
                    Some(std::str::from_utf8(value.as_deref().unwrap()).unwrap().to_owned())
                };
                assert_eq!(header("dlq.truncated"), Some(value.to_string()));
                assert_eq!(header("big").is_some(), kept);
                assert!(key.starts_with(cut.key.unwrap()) && whole_value.starts_with(cut.value.unwrap()));
                let is_cut = cut.key.unwrap().len() < key_size;
                assert_eq!(header("dlq.key_truncated"), is_cut.then(|| key_size.to_string()));
                assert!(!is_cut || cut.value.unwrap().is_empty(), "the value goes first");
            }
        }
    }

    #[test]
    fn a_letter_that_panics_is_sent_without_its_records_headers() {
        let record = Record::new(Some(b"k"), Some(b"v"), &[("h", None)]);
        let letter = DeadLetter { record, reason: Reason::Undecodable, error: String::new(), attempts: 1 };
        let sent = |headers| Sent { key: Some(b"k"), value: Some(b"v"), headers };
        let bare = || sent(letter.our_headers("g", OffsetDateTime::UNIX_EPOCH));
        let found = whole_or_bare("g", &letter, || panic!("a defect"), bare).unwrap();
        let names: Vec<_> = found.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"dlq.offset") && names.iter().all(|name| name.starts_with("dlq.")), "{names:?}");
        assert!(whole_or_bare("g", &letter, || panic!("a defect"), || panic!("a defect")).is_err());
        let whole = || sent(letter.headers("g", OffsetDateTime::UNIX_EPOCH));
        assert_eq!(whole_or_bare("g", &letter, whole, bare).unwrap().headers.len(), 1 + names.len());
    }

    #[test]
    fn headers_that_are_encoded_go_before_the_key() {
        let record = Record::from_bytes(Some(b"k"), None, &[(b"\xff", Some(&vec![b'h'; 2 << 20]))]);
        let letter = DeadLetter { record, reason: Reason::Undecodable, error: String::new(), attempts: 1 };
        let headers = letter.headers("g", OffsetDateTime::UNIX_EPOCH);
        let cut = Sent { key: Some(b"k"), value: None, headers }.cut(MAX_DEAD_LETTER_BYTES);
        assert!(cut.size() < 5_000 && cut.headers.iter().all(|(name, _)| name != "dlq.headers"));
        assert_eq!((cut.key, cut.value), (Some(&b"k"[..]), None));
    }
}
