//! Writes a page of a history as JSON or CSV.
//!
//! What is asked for may be longer than the events: CSV doubles quotes, and elements of an array before a part are null.
//! So an answer counts in the memory budget as it grows, and its own size ends a page, too.

use bytes::Bytes;
use serde::Serialize;
use shared::devices::DeviceId;
use shared::devices::queries::{Cursor, Item, PAGE_BYTES, Page};
use tokio::task::coop::consume_budget;

use super::event::Event;
use super::fields::Fields;
use super::{csv, cursor};
use crate::http::body::Whole;
use crate::http::in_flight::MemoryPermit;
use crate::http::problem::{Code, Problem};

/// An event costs its task a unit of tokio's budget for each of these bytes. The budget has 128 units: after a megabyte,
/// other tasks run, and the deadline is checked.
const UNIT: usize = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
}

/// The page, and the position of the next one, if there is one. Errors: 503 if there is no memory for it, and 500 if an
/// event is not as we write them.
pub(super) async fn write<'a>(
    id: &DeviceId,
    page: &'a Page,
    form: Form,
    fields: Option<&Fields>,
    room: &mut MemoryPermit,
) -> Result<(Bytes, Option<&'a Cursor>), Problem> {
    let events: usize = page.items.iter().map(|item| item.body.len()).sum();
    let mut body = Whole::new(usize::MAX, room);
    body.beside(events)?;
    match form {
        Form::Json if fields.is_none() => {
            body.reserve(events + page.items.len() + 256)?;
            body.push(br#"{"items":["#)?;
        }
        Form::Json => body.push(br#"{"items":["#)?,
        Form::Csv => body.push(&csv::head(fields))?,
    }
    let (mut text, mut written) = (Vec::new(), 0);
    for item in &page.items {
        if body.len() >= usize::try_from(PAGE_BYTES).unwrap_or(usize::MAX) {
            break;
        }
        for _ in 0..=item.body.len() / UNIT {
            consume_budget().await;
        }
        if form == Form::Json && written > 0 {
            body.push(b",")?;
        }
        match fields {
            // It is JSON already, and stays as PostgreSQL rendered it.
            None if form == Form::Json => body.push(item.body.as_bytes())?,
            _ => {
                text.clear();
                render(&mut text, item, form, fields).map_err(|error| {
                    tracing::error!(device_id = id.as_str(), %error, "cannot write the history");
                    Problem::new(Code::INTERNAL, Code::INTERNAL.title())
                })?;
                body.beside(events + text.capacity())?;
                body.push(&text)?;
            }
        }
        written += 1;
    }
    let is_last = written == page.items.len() && !page.more;
    let last = written.checked_sub(1).and_then(|last| page.items.get(last));
    let next = last.filter(|_| !is_last).map(|item| &item.cursor);
    if form == Form::Json {
        let next = next.map_or_else(|| "null".to_owned(), |next| format!(r#""{}""#, cursor::write(next)));
        body.push(format!(r#"],"next":{next}}}"#).as_bytes())?;
    }
    Ok((body.take(), next))
}

fn render(text: &mut Vec<u8>, item: &Item, form: Form, fields: Option<&Fields>) -> serde_json::Result<()> {
    let event = Event::of(&item.body)?;
    match (form, fields) {
        (Form::Csv, _) => csv::row(text, event, fields),
        (Form::Json, Some(fields)) => {
            let parts = fields.of(event.payload)?;
            json(text, &event.with(parts))
        }
        (Form::Json, None) => json(text, &event),
    }
}

fn json(text: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    serde_json::to_writer(text, value)
}

#[cfg(test)]
mod tests;
