use futures_util::FutureExt as _;
use serde_json::Value;
use time::OffsetDateTime;

use super::*;
use crate::http::in_flight::InFlight;

const MIB: usize = 1024 * 1024;

/// A page of events with this payload; the one with the highest number is the newest.
fn page(payload: &str, count: usize) -> Page {
    let item = |number: usize| Item {
        body: format!(
            r#"{{"event_id":"e-{number}","type":"t","occurred_at":"o","accepted_at":"a","outcome":"applied","request_id":null,"payload":{payload}}}"#
        ),
        cursor: Cursor { accepted_at: OffsetDateTime::UNIX_EPOCH, event_id: format!("e-{number}") },
    };
    Page { items: (0..count).rev().map(item).collect(), more: false }
}

fn fields(text: &str) -> Option<Fields> {
    Some(Fields::parse(text).unwrap())
}

async fn written(page: &Page, form: Form, fields: Option<&Fields>) -> (Bytes, Option<Cursor>) {
    let mut room = InFlight::new(usize::MAX / 2).empty();
    let (body, next) = write(&"d".parse().unwrap(), page, form, fields, &mut room).await.unwrap();
    (body, next.cloned())
}

/// Reads all of a page that may take several answers.
async fn read_through(mut page: Page, form: Form, fields: Option<Fields>) -> usize {
    let count = page.items.len();
    let (mut seen, mut answers) = (0, 0);
    loop {
        let (body, next) = written(&page, form, fields.as_ref()).await;
        assert!(body.len() < 5 * MIB, "{form:?}: {}", body.len());
        answers += 1;
        let rows = match form {
            Form::Json => {
                let answer: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(answer["next"].as_str(), next.as_ref().map(cursor::write).as_deref());
                answer["items"].as_array().unwrap().len()
            }
            Form::Csv => body.iter().filter(|byte| **byte == b'\n').count() - 1,
        };
        seen += rows;
        page.items.drain(..rows);
        match next {
            Some(next) => assert_eq!(next.event_id, format!("e-{}", count - seen)),
            None => break,
        }
    }
    assert_eq!(seen, count);
    answers
}

#[tokio::test]
async fn an_answer_ends_at_4_mib_however_much_longer_than_its_events_it_is() {
    let zeros = format!(r#"{{"a": [{}]}}"#, vec!["0"; 120_000].join(", "));
    let quotes = format!(r#"{{"a": [{}]}}"#, vec![r#""""#; 80_000].join(", "));
    // Eleven events of some 360 kB are less than 4 MiB, and take twice the room.
    for (payload, form, pointers) in
        [(&zeros, Form::Json, fields("/a/119999")), (&quotes, Form::Csv, fields("/a")), (&quotes, Form::Csv, None)]
    {
        assert_eq!(read_through(page(payload, 11), form, pointers).await, 2, "{form:?}");
    }
    for form in [Form::Json, Form::Csv] {
        assert_eq!(read_through(page(r#"{"a": 1}"#, 50), form, None).await, 1);
        assert_eq!(read_through(page(r#"{"a": 1}"#, 0), form, None).await, 1);
    }
    let more = Page { more: true, ..page("{}", 2) };
    assert_eq!(written(&more, Form::Json, None).await.1.unwrap().event_id, "e-0");
}

#[tokio::test]
async fn the_memory_counts_while_it_is_taken() {
    let (page, id) = (page(&format!(r#"{{"a": "{}"}}"#, "x".repeat(MIB)), 3), "d".parse().unwrap());
    for (form, fields) in [(Form::Json, None), (Form::Json, fields("/a")), (Form::Csv, fields("/a"))] {
        // The events themselves are 3 MiB, and the answer is as long.
        for (all, fits) in [(2 * MIB, false), (5 * MIB, false), (12 * MIB, true)] {
            let budget = InFlight::new(all);
            let mut room = budget.empty();
            let answer = write(&id, &page, form, fields.as_ref(), &mut room).await;
            match answer {
                Ok((body, _)) => assert!(fits && all - budget.left() >= body.len(), "{all}, {form:?}"),
                Err(problem) => assert_eq!((fits, problem.code), (false, Code::OVERLOADED), "{all}, {form:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_long_page_lets_others_run() {
    let long = page(&format!(r#"{{"a": "{}"}}"#, "x".repeat(250_000)), 16);
    for (form, fields) in [(Form::Json, None), (Form::Json, fields("/a")), (Form::Csv, fields("/a"))] {
        assert!(written(&long, form, fields.as_ref()).now_or_never().is_none(), "{form:?}: not in one go");
    }
}
