//! A page of a history as CSV (RFC 4180), with a line of column names.
//!
//! Spreadsheets take a text that begins like a formula for one, and devices choose their texts. So such a text gets an
//! apostrophe in front. Everything but numbers is in quotes: some spreadsheets separate cells at semicolons, and a
//! formula could begin behind one. Numbers stay as they are.

use std::borrow::Cow;

use csv::{QuoteStyle, Terminator, WriterBuilder};
use serde_json::value::RawValue;

use super::event::Event;
use super::fields::Fields;

pub(super) const MEDIA_TYPE: &str = "text/csv";

/// Without the payload.
const COLUMNS: [&str; 6] = ["event_id", "type", "occurred_at", "accepted_at", "outcome", "request_id"];

/// Writes a page: a column for each of the fields, or one with the payload as JSON.
pub(super) async fn write(items: &[String], fields: Option<&Fields>) -> anyhow::Result<Vec<u8>> {
    let mut builder = WriterBuilder::new();
    builder.terminator(Terminator::CRLF).quote_style(QuoteStyle::NonNumeric);
    let mut writer = builder.from_writer(Vec::new());
    let own = fields.map_or_else(
        || vec!["payload"],
        |fields| fields.pointers.iter().map(|pointer| pointer.text.as_str()).collect(),
    );
    writer.write_record(COLUMNS.iter().copied().chain(own))?;
    for item in items {
        tokio::task::coop::consume_budget().await;
        let event = Event::of(item)?;
        let values = match fields {
            Some(fields) => {
                let part = fields.of(event.payload)?;
                fields.pointers.iter().map(|pointer| part.at(pointer)).collect()
            }
            None => vec![Some(event.payload)],
        };
        let Event { event_id, event_type, occurred_at, accepted_at, outcome, request_id, .. } = event;
        for text in [event_id, event_type, occurred_at, accepted_at, outcome, request_id.unwrap_or_default()] {
            writer.write_field(&*harmless(text))?;
        }
        for value in values {
            writer.write_field(&*cell(value)?)?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

/// A string is its text, an absent value or null is empty, everything else is JSON.
fn cell(value: Option<&RawValue>) -> serde_json::Result<Cow<'_, str>> {
    let text = value.map_or("null", RawValue::get);
    Ok(match text.as_bytes() {
        [b'"', ..] => harmless(Cow::Owned(serde_json::from_str(text)?)),
        b"null" => Cow::Borrowed(""),
        _ => Cow::Borrowed(text),
    })
}

/// The beginnings of formulas, and the characters that spreadsheets skip before them (OWASP, "CSV Injection"); some take
/// the full-width forms, too.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

fn harmless(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.starts_with(FORMULA) { Cow::Owned(format!("'{text}")) } else { text }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written(event_id: &str, payload: &Value, fields: Option<&str>) -> String {
        let item = json!({
            "event_id": event_id, "type": "t", "occurred_at": "o", "accepted_at": "a", "outcome": "applied",
            "request_id": null, "payload": payload
        });
        let fields = fields.map(|fields| Fields::parse(fields).unwrap());
        let page = write(&[item.to_string()], fields.as_ref()).now_or_never().unwrap().unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn a_row() {
        let payload = json!({"temp_c": -37.2, "on": true, "note": "say \"x\",\r\ny", "axes": [1, 2], "none": null});
        let row = written("e-1", &payload, Some("/temp_c,/on,/note,/axes,/none,/absent"));
        let names = r#""event_id","type","occurred_at","accepted_at","outcome","request_id""#;
        let own = r#""/temp_c","/on","/note","/axes","/none","/absent""#;
        let first = r#""e-1","t","o","a","applied","",-37.2,"true","say ""x"","#;
        let second = r#"y","[1,2]","","""#;
        let expected = format!("{names},{own}\r\n{first}\r\n{second}\r\n");
        assert_eq!(row, expected);
        let whole = written("-1", &json!({"a": "=1"}), None);
        let last = r#""'-1","t","o","a","applied","","{""a"":""=1""}""#;
        assert_eq!(whole.lines().last(), Some(last));
    }

    proptest! {
        /// A reader of CSV gets the text, with an apostrophe where it would begin like a formula.
        #[test]
        fn every_text_is_read_as_it_was_and_none_is_a_formula(text in "[=+@\t\r\n＝\",;a-]{0,4}|\\PC{0,8}") {
            let page = written("e", &json!({"x": text}), Some("/x"));
            let mut rows = csv::Reader::from_reader(page.as_bytes());
            let row = rows.records().next().unwrap().unwrap();
            let cell = row.get(COLUMNS.len()).unwrap();
            prop_assert!(!cell.starts_with(FORMULA), "{:?}", cell);
            let begins_so = text.starts_with(FORMULA);
            prop_assert_eq!(cell.strip_prefix('\'').filter(|_| begins_so).unwrap_or(cell), text);
        }
    }
}
