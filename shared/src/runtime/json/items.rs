//! Many events in one body: a JSON array, or NDJSON (a JSON text on each line). A byte order mark before either is
//! ignored.

use std::fmt;

use bytes::Bytes;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::without_bom;

/// Why a body is not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It is not JSON (RFC 8259).
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but not an array.
    #[error("not an array")]
    NotAnArray,
    /// It has more events than this limit.
    #[error("more than {0} events")]
    TooMany(usize),
}

/// The items of an array of at most `max`, unparsed. If the body is not JSON, the error has the line and the column.
pub fn array(body: &Bytes, max: usize) -> Result<Vec<&RawValue>, BatchError> {
    let text = std::str::from_utf8(without_bom(body)).map_err(|_| BatchError::NotJson("not UTF-8".into()))?;
    let first = text.bytes().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    if first != Some(b'[') {
        // If it is not JSON at all, that is the error to report.
        let json = serde_json::from_str::<IgnoredAny>(text);
        return Err(json.map_or_else(|error| BatchError::NotJson(error.to_string()), |_| BatchError::NotAnArray));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let items = serde::Deserializer::deserialize_seq(&mut deserializer, Items { max });
    let (items, count) = items
        .and_then(|items| deserializer.end().map(|()| items))
        .map_err(|error| BatchError::NotJson(error.to_string()))?;
    if count > max { Err(BatchError::TooMany(max)) } else { Ok(items) }
}

/// Reads the first `max` items, and counts all.
struct Items {
    max: usize,
}

impl<'de> Visitor<'de> for Items {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (mut kept, mut count) = (Vec::new(), 0);
        while kept.len() < self.max {
            let Some(item) = items.next_element()? else { return Ok((kept, count)) };
            kept.push(item);
            count += 1;
        }
        // Parse the others without keeping them, so that malformed JSON is not reported as a long array.
        while items.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((kept, count))
    }
}

/// A line of NDJSON that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number in the body, from 1, including blank lines.
    pub number: usize,
    /// Its text without the line ending, which shares the body's memory.
    pub text: Bytes,
}

/// The lines of a body that are not blank, at most `max`. They are not parsed here, so that a bad line does not affect
/// the others.
pub fn lines(body: &Bytes, max: usize) -> Result<Vec<Line>, BatchError> {
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(body.split(|&byte| byte == b'\n')) {
        let text = text.trim_ascii();
        // The parser of the line ignores its byte order mark; here it only keeps a blank line from being an event.
        if without_bom(text).trim_ascii().is_empty() {
            continue;
        }
        if lines.len() == max {
            return Err(BatchError::TooMany(max));
        }
        lines.push(Line { number, text: body.slice_ref(text) });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::json::json;
    use proptest::prelude::*;

    fn items(body: &str, max: usize) -> Result<Vec<String>, BatchError> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        array(&body, max).map(|items| items.iter().map(|item| item.get().to_owned()).collect())
    }

    #[test]
    fn items_stand_as_they_were_sent() {
        assert_eq!(items(" [ {\"a\" : 1.0} ,[],\n7 ] ", 3).unwrap(), ["{\"a\" : 1.0}", "[]", "7"]);
        assert_eq!(items("[]", 3).unwrap(), [""; 0]);
        assert_eq!(items("\u{feff} [7]", 3).unwrap(), ["7"], "behind a byte order mark");
    }

    #[test]
    fn what_is_no_batch() {
        for body in [
            "",
            "[",
            "[1,]",
            "[1 2]",
            "[1] 2",
            "nonsense",
            "{",
            "\u{feff}",
            "\u{feff}\u{feff}[]",
            "[1,2,3,4,5",
            "[1,2,3,4 5]",
        ] {
            assert!(matches!(items(body, 3), Err(BatchError::NotJson(_))), "{body}");
        }
        assert!(matches!(array(&Bytes::from_static(b"[\"\xff\"]"), 3), Err(BatchError::NotJson(_))));
        for body in ["{}", " null", "7", "\"[]\""] {
            assert_eq!(items(body, 3), Err(BatchError::NotAnArray), "{body}");
        }
        assert_eq!(items("[1,2,3,4]", 3), Err(BatchError::TooMany(3)));
        let Err(BatchError::NotJson(why)) = items("[1,\n2,\n}", 3) else { panic!("it was taken") };
        assert!(why.ends_with("at line 3 column 1"), "{why}");
    }

    #[test]
    fn lines_are_told_by_their_numbers() {
        let body = Bytes::from_static(b"{\"a\":1}\r\n\n  \n{} \nnonsense");
        let found = lines(&body, 3).unwrap();
        let found: Vec<_> = found.iter().map(|line| (line.number, &line.text[..])).collect();
        assert_eq!(found, [(1, &b"{\"a\":1}"[..]), (4, b"{}"), (5, b"nonsense")]);
        assert_eq!(lines(&body, 2), Err(BatchError::TooMany(2)));
        assert_eq!(lines(&Bytes::from_static(b"\n\n"), 2), Ok(Vec::new()));
        let marked = Bytes::from_static(b"\xef\xbb\xbf \n\xef\xbb\xbf{}\r\n\xef\xbb\xbf\xef\xbb\xbf{}");
        let found: Vec<_> =
            lines(&marked, 3).unwrap().into_iter().map(|line| (line.number, json(&line.text).is_ok())).collect();
        assert_eq!(found, [(2, true), (3, false)], "one byte order mark is ignored");
    }

    proptest! {
        #[test]
        fn an_array_comes_apart_into_what_it_was_made_of(numbers in prop::collection::vec(any::<i32>(), 0..8)) {
            let texts: Vec<String> = numbers.iter().map(|n| format!(r#"{{"n": {n}}}"#)).collect();
            prop_assert_eq!(items(&format!("[{}]", texts.join(" ,\n")), 8).unwrap(), texts.clone());
            let body = Bytes::from(texts.join("\n"));
            let found: Vec<_> = lines(&body, 8).unwrap().into_iter().map(|line| line.text).collect();
            prop_assert_eq!(found, texts);
        }
    }
}
