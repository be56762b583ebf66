//! Payloads: readings of real machines, and random text. A repeated text would compress to nearly nothing, and hide what
//! Kafka and PostgreSQL's WAL carry.

use std::io::{BufRead as _, BufReader};
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Where the readings come from: README.md beside the file.
const TELEMETRY: &[u8] = include_bytes!("../../../devstack/tests/data/telemetry.jsonl.gz");

/// The payloads of the readings, in order of time, without the closing brace.
static READINGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let lines = BufReader::new(GzDecoder::new(TELEMETRY)).lines();
    lines.map_while(Result::ok).filter_map(|line| open(&line)).collect()
});

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

fn open(line: &str) -> Option<String> {
    let Line { payload } = serde_json::from_str(line).ok()?;
    payload.get().strip_suffix('}').map(str::to_owned)
}

/// A reading with random text behind it, of this many bytes in all. The same number has the same payload. A reading
/// that leaves no room for a text is all there is: 93 bytes at most.
pub(crate) fn payload(number: usize, bytes: usize) -> String {
    const BEGIN: &str = r#","note":""#;
    const END: &str = r#""}"#;
    let mut text = String::with_capacity(bytes.max(93));
    text.push_str(READINGS.get(number % READINGS.len().max(1)).map(String::as_str).unwrap_or_default());
    let room = bytes.saturating_sub(text.len() + BEGIN.len() + END.len());
    if room == 0 {
        text.push('}');
        return text;
    }
    let mut random = fastrand::Rng::with_seed(number as u64);
    text.push_str(BEGIN);
    text.extend((0..room).map(|_| random.alphanumeric()));
    text.push_str(END);
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use bytes::Bytes;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use shared::runtime::json::Payload;

    use super::*;

    #[test]
    fn every_reading_is_there() {
        let mut text = String::new();
        GzDecoder::new(TELEMETRY).read_to_string(&mut text).unwrap();
        assert_eq!(READINGS.len(), text.lines().count());
        assert_eq!(READINGS.len(), 91_711);
    }

    #[test]
    fn payloads_have_their_size_and_are_good() {
        for bytes in [100, 1024, 64 * 1024] {
            for number in (0..READINGS.len()).step_by(READINGS.len() / 50) {
                let text = payload(number, bytes);
                assert_eq!(text, payload(number, bytes));
                let fits = text.len() == bytes || bytes == 100 && (90..=93).contains(&text.len());
                assert!(fits, "{} bytes instead of {bytes}: {text}", text.len());
                assert!(Payload::check(Bytes::from(text), "").is_ok());
            }
        }
    }

    #[test]
    fn payloads_do_not_compress_like_a_repeated_text() {
        for bytes in [100, 1024, 16 * 1024] {
            let plain: Vec<u8> = (0..200).flat_map(|number| payload(number, bytes).into_bytes()).collect();
            let mut zipped = GzEncoder::new(Vec::new(), Compression::default());
            zipped.write_all(&plain).unwrap();
            let zipped = zipped.finish().unwrap().len();
            assert!(zipped * 6 > plain.len(), "{} bytes become {zipped}", plain.len());
        }
    }
}
