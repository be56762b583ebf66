//! A page of a history as CSV (RFC 4180), with a line of column names.
//!
//! Spreadsheets take a text that begins like a formula for one, and devices choose their texts. So such a text gets an
//! apostrophe in front. Everything but numbers is in quotes: some spreadsheets separate cells at semicolons, and a
//! formula could begin behind one. Numbers stay as they are.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::event::Event;
use super::fields::Fields;

pub(super) const MEDIA_TYPE: &str = "text/csv";

/// Without the payload.
const COLUMNS: [&str; 6] = ["event_id", "type", "occurred_at", "accepted_at", "outcome", "request_id"];

/// The line of column names: a column for each of the fields, or one with the payload as JSON.
pub(super) fn head(fields: Option<&Fields>) -> Vec<u8> {
    let own = fields.map_or_else(
        || vec!["payload"],
        |fields| fields.pointers.iter().map(|pointer| pointer.text.as_str()).collect(),
    );
    let mut line = Vec::new();
    for (place, name) in COLUMNS.into_iter().chain(own).enumerate() {
        if place > 0 {
            line.push(b',');
        }
        quote(&mut line, name);
    }
    line.extend(b"\r\n");
    line
}

/// Writes the row of an event.
pub(super) fn row(line: &mut Vec<u8>, event: Event<'_, &RawValue>, fields: Option<&Fields>) -> serde_json::Result<()> {
    let Event { event_id, event_type, occurred_at, accepted_at, outcome, request_id, payload } = event;
    quote(line, &harmless(event_id));
    for text in [event_type, occurred_at, accepted_at, outcome, request_id.unwrap_or_default()] {
        line.push(b',');
        quote(line, &harmless(text));
    }
    match fields {
        Some(fields) => {
            let part = fields.of(payload)?;
            for pointer in &fields.pointers {
                line.push(b',');
                cell(line, part.at(pointer))?;
            }
        }
        None => {
            line.push(b',');
            cell(line, Some(payload))?;
        }
    }
    line.extend(b"\r\n");
    Ok(())
}

/// Writes a value: a string is its text, an absent value or null is empty, everything else is JSON.
fn cell(line: &mut Vec<u8>, value: Option<&RawValue>) -> serde_json::Result<()> {
    let text = value.map_or("null", RawValue::get);
    match text.as_bytes() {
        [b'"', ..] => quote(line, &harmless(Cow::Owned(serde_json::from_str(text)?))),
        [b'-' | b'0'..=b'9', ..] => line.extend(text.as_bytes()),
        b"null" => quote(line, ""),
        _ => quote(line, text),
    }
    Ok(())
}

/// Writes a text in quotes. Not by a library: the usual ones leave out the quotes of a text that looks like a number.
fn quote(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    for (place, piece) in text.split('"').enumerate() {
        if place > 0 {
            line.extend(b"\"\"");
        }
        line.extend(piece.as_bytes());
    }
    line.push(b'"');
}

/// The beginnings of formulas, and the characters that spreadsheets skip before them (OWASP, "CSV Injection"); some take
/// the full-width forms, too.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

fn harmless(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.starts_with(FORMULA) { Cow::Owned(format!("'{text}")) } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written(event_id: &str, payload: &Value, fields: Option<&str>) -> String {
        let item = json!({
            "event_id": event_id, "type": "t", "occurred_at": "o", "accepted_at": "a", "outcome": "applied",
            "request_id": null, "payload": payload
        });
        let fields = fields.map(|fields| Fields::parse(fields).unwrap());
        let mut page = head(fields.as_ref());
        row(&mut page, Event::of(&item.to_string()).unwrap(), fields.as_ref()).unwrap();
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

    #[test]
    fn only_a_number_of_json_has_no_quotes() {
        let payload = json!({"n": [-1, 1e-7], "x": {"texts": ["7", "1e5", "inf", "NaN", "true", "0x1"]}});
        let row = written(
            "12",
            &payload,
            Some("/n/0,/n/1,/x/texts/0,/x/texts/1,/x/texts/2,/x/texts/3,/x/texts/4,/x/texts/5"),
        );
        let last = r#""12","t","o","a","applied","",-1,1e-7,"7","1e5","inf","NaN","true","0x1""#;
        assert_eq!(row.lines().last(), Some(last));
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
