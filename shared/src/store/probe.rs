//! A transaction as the worker's own are, of an event that nobody sent: it says whether others would succeed now, where
//! no others are there to try.
//!
//! It runs the statements of [`Store::apply`] for a device that cannot exist, takes them back to a savepoint, and
//! commits. So it meets what everybody meets (a server that is read-only, a full disk, a missing right, a trigger that
//! refuses all, a deadline), and on its commit too: what it wrote has gone to the log, so the commit waits for the disk
//! and for a synchronous standby as any other does. It leaves no row. Each has an id of its own, so no two of them wait
//! for each other, and the only lock that it shares is the table's.

use bytes::Bytes;
use time::OffsetDateTime;

use super::apply::apply;
use super::forget::UNLESS_FORGETTING;
use super::session::Session;
use super::{Class, Store, StoreError, in_transaction};
use crate::event::{DeviceId, Event, EventId, EventType, MAX_PAYLOAD_BYTES, Payload};
use crate::position::Position;
use crate::topic::Decoded;

const BEGIN: &str = "SAVEPOINT probe";
/// What would be checked on the commit is checked before it is taken back.
const END: &str = "SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK TO SAVEPOINT probe";
/// Around the text, to make it JSON.
const AROUND: usize = r#"{"probe":""}"#.len();

impl Store {
    /// Applies an event that nobody sent, with a payload of about this size, and takes it back.
    ///
    /// # Errors
    /// [`StoreError`] with its class, as for a batch.
    pub async fn probe(&self, payload_bytes: usize) -> Result<(), StoreError> {
        let event = made_up(payload_bytes)?;
        in_transaction!(self, UNLESS_FORGETTING, |session| probe(session, &event))
    }
}

async fn probe(session: &mut Session<'_>, event: &Decoded) -> Result<(), StoreError> {
    sqlx::raw_sql(BEGIN).execute(&mut *session).await?;
    apply(session, &[event]).await?;
    sqlx::raw_sql(END).execute(&mut *session).await?;
    Ok(())
}

fn made_up(payload_bytes: usize) -> Result<Decoded, StoreError> {
    let length = payload_bytes.min(MAX_PAYLOAD_BYTES).saturating_sub(AROUND);
    // By chance: what can be compressed takes less of everything than an event does.
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(length).collect();
    let payload = Payload::check(Bytes::from(format!(r#"{{"probe":"{text}"}}"#)), "").map_err(|faults| StoreError {
        class: Class::Failed,
        message: format!("the probe's payload is none: {faults:?}"),
    })?;
    let now = OffsetDateTime::now_utc();
    let event_id = EventId::generate();
    Ok(Decoded {
        event: Event {
            device_id: DeviceId::of_nobody(&event_id),
            event_id,
            event_type: EventType::DeviceReported,
            payload,
            occurred_at: now,
            accepted_at: now,
            request_id: None,
            user_id: None,
            traceparent: None,
        },
        position: Position {
            topic: String::new(),
            partition: 0,
            offset: 0,
            appended_at: now,
            redriven: false,
            create_time: false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_large_as_asked_and_of_a_device_that_nobody_can_name() {
        for bytes in [0, 1, 12, 13, 100, 255 * 1024, MAX_PAYLOAD_BYTES, usize::MAX] {
            let Event { device_id, payload, .. } = made_up(bytes).unwrap().event;
            assert_eq!(payload.as_str().len(), bytes.clamp(AROUND, MAX_PAYLOAD_BYTES));
            assert!(device_id.as_str().parse::<DeviceId>().is_err(), "{device_id}");
        }
        assert_ne!(made_up(0).unwrap().event.device_id, made_up(0).unwrap().event.device_id);
    }
}
