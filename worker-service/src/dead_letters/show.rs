//! `dlq show`: one complete letter. The only command that shows a value.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Context;
use serde_json::{Value, json};
use shared::kafka::{self, Header, Record};
use shared::runtime::rfc3339;

use super::read::Reader;
use crate::dead_letters::config::DlqShowConfig;
use crate::source::Source;

pub async fn run(config: &DlqShowConfig, source: &Source, out: &mut impl Write) -> anyhow::Result<()> {
    let client = kafka::client(&config.kafka)?;
    let reader = Reader::open(&client, &source.topics.dlq, &source.group)?;
    let (partition, offset) = (config.partition, config.offset);
    let find = move || -> anyhow::Result<_> {
        let found = reader.one(partition, offset)?;
        let unreadable = reader.why_unreadable(partition, offset);
        let only = Some((partition, Some(offset)));
        let waits = found.is_none() && !reader.spans_and_unstable(only)?.1.is_empty();
        Ok((found, waits, unreadable))
    };
    let (found, waits, unreadable) =
        tokio::task::spawn_blocking(find).await.map_err(shared::runtime::lifecycle::no_result)??;
    let topic = &source.topics.dlq;
    anyhow::ensure!(
        !waits,
        "{topic} [{partition}] offset {offset} is behind an open transaction and cannot be read yet"
    );
    if let Some(error) = unreadable {
        anyhow::bail!("{topic} [{partition}] offset {offset} cannot be read: {error}");
    }
    let record = found.with_context(|| format!("{topic} [{partition}] has no record at offset {offset}"))?;
    if config.json {
        writeln!(out, "{}", as_json(&record))?;
    } else {
        write!(out, "{}", as_text(&record))?;
    }
    out.flush()?;
    Ok(())
}

/// The record's original headers, then the letter's own.
fn headers(record: &Record) -> Vec<Header<'_>> {
    let of_the_letter = |(name, _): &Header<'_>| name.starts_with(b"dlq.") && *name != b"dlq.headers";
    match record.original_headers() {
        Some(own) => own.into_iter().chain(record.headers().filter(of_the_letter)).collect(),
        None => record.headers().collect(),
    }
}

/// Bytes are text if they are UTF-8, else hexadecimal under another name.
fn as_json(record: &Record) -> Value {
    let headers: Vec<Value> = headers(record)
        .into_iter()
        .map(|(name, value)| {
            let (name_kind, name) = member("name", Some(name));
            let (kind, value) = member("value", value);
            json!({name_kind: name, kind: value})
        })
        .collect();
    let value = record.value();
    let (key_kind, key) = member("key", record.key());
    let (value_kind, value) = member("value", value.as_deref());
    json!({
        "partition": record.partition, "offset": record.offset, "timestamp": rfc3339::format(record.timestamp),
        key_kind: key, "headers": headers, value_kind: value,
    })
}

fn member(name: &str, bytes: Option<&[u8]>) -> (String, Value) {
    match bytes.map(std::str::from_utf8) {
        None => (name.to_owned(), Value::Null),
        Some(Ok(text)) => (name.to_owned(), text.into()),
        Some(Err(_)) => (format!("{name}_hex"), hex(bytes.unwrap_or_default()).into()),
    }
}

fn as_text(record: &Record) -> String {
    let mut text = format!("{}/{} at {}\n", record.partition, record.offset, rfc3339::format(record.timestamp));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "key: {}", shown(record.key()));
    for (name, value) in headers(record) {
        let name = std::str::from_utf8(name).map_or_else(|_| shown(Some(name)), |name| name.escape_debug().to_string());
        let _ = writeln!(text, "{name}: {}", shown(value));
    }
    let value = record.value();
    let _ = writeln!(text, "\n{}", shown(value.as_deref()));
    text
}

/// Escapes control characters, which a terminal could execute, except line breaks and tabs.
fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "(none)".to_owned(),
        Some((_, Ok(text))) => text
            .chars()
            .flat_map(|c| {
                let plain = !c.is_control() || matches!(c, '\n' | '\t');
                plain.then_some(c).into_iter().chain((!plain).then(|| c.escape_debug()).into_iter().flatten())
            })
            .collect(),
        Some((bytes, Err(_))) => format!("(hex) {}", hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_encoded_are_shown_as_they_were() {
        let encoded = b"\x04\x02\xff\x02x\x0adlq.a\x01";
        let letter = [("dlq.headers", Some(&encoded[..])), ("dlq.reason", Some(b"undecodable"))];
        let record = Record::new(None, None, &letter);
        assert!(as_text(&record).contains("\n(hex) ff: x\ndlq.a: (none)\ndlq.reason: undecodable\n"));
        assert_eq!(as_json(&record)["headers"][0], json!({"name_hex": "ff", "value": "x"}));
        let record = Record::new(None, None, &[("dlq.headers", Some(b"?"))]);
        assert!(as_text(&record).contains("\ndlq.headers: ?\n"));
    }

    #[test]
    fn text_is_shown_as_text_and_bytes_as_bytes() {
        let headers = [("h", Some(&b"\xfe"[..])), ("null", None), ("t", Some(&b"x"[..]))];
        let record = Record::new(Some(b"key"), Some(b"\xff\x00"), &headers);
        assert_eq!(
            as_text(&record),
            "0/0 at 1970-01-01T00:00:00Z\nkey: key\nh: (hex) fe\nnull: (none)\nt: x\n\n(hex) ff00\n"
        );
        let json = as_json(&record);
        assert_eq!(json["key"], "key");
        assert_eq!(json["value_hex"], "ff00");
        assert_eq!(json["headers"][0], json!({"name": "h", "value_hex": "fe"}));
        assert_eq!(json["headers"][1], json!({"name": "null", "value": null}));
        assert_eq!(shown(Some("a\u{1b}[2J\nü".as_bytes())), "a\\u{1b}[2J\nü");
    }
}
