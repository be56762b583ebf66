//! Idempotency keys: a command that is repeated with its key gets the answer of the first time.
//!
//! A key is written first, and its answer last, in the command's own transaction. So a repeat at the same time waits
//! for the first one, and no crash leaves a key without an answer.

use std::time::Duration;

use super::expire::Piece;
use super::{Failure, Store, Tx, within_deadline};

/// The first statement of a command's transaction: how long it waits for a lock, of its key or of anything else. Less
/// than the 4 seconds that a statement may take by default, so that a repeat is told why it waited in vain.
pub const WAIT: &str = "SET LOCAL lock_timeout = '3500ms'";

const INSERT: &str = "
INSERT INTO idempotency_keys (subject, key, fingerprint) VALUES ($1, $2, $3) ON CONFLICT (subject, key) DO NOTHING";
const FIND: &str =
    "SELECT fingerprint, status, headers::text, body FROM idempotency_keys WHERE subject = $1 AND key = $2";
const FINISH: &str = "
UPDATE idempotency_keys SET status = $3, headers = $4::jsonb, body = $5
WHERE subject = $1 AND key = $2 AND status IS NULL";

/// The key of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey<'a> {
    /// The subject of the caller's token: the keys of others are others.
    pub subject: &'a str,
    /// What the caller sent.
    pub key: &'a str,
    /// The hash of the request: method, path and body.
    pub fingerprint: &'a [u8; 32],
}

/// The answer to a command, to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The status code.
    pub status: u16,
    /// The headers that belong to the answer itself, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// What is known of a key when a command begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: do the command, and call [`finish`] before the transaction ends.
    New,
    /// It was done: give this answer, and do nothing.
    Replay(StoredAnswer),
    /// Another request has used it.
    Reused,
    /// The first request with it takes longer than a repeat waits. The transaction can do no more.
    InProgress,
}

/// Begins a command, in its transaction, which began with [`WAIT`].
pub async fn begin(tx: &mut Tx<'_>, key: &IdempotencyKey<'_>) -> Result<Begun, Failure> {
    let insert = sqlx::query(INSERT).bind(key.subject).bind(key.key).bind(&key.fingerprint[..]);
    match insert.execute(&mut *tx).await {
        Ok(inserted) if inserted.rows_affected() == 1 => return Ok(Begun::New),
        Ok(_) => {}
        Err(error) => {
            let failure = Failure::from(error);
            return if failure.is_lock_timeout() { Ok(Begun::InProgress) } else { Err(failure) };
        }
    }
    // If it is not there, it has just expired.
    find(tx, key).await?.ok_or_else(|| Failure::again("an idempotency key has just expired"))
}

/// What is known of a key, without beginning a command: [`Begun::Replay`] or [`Begun::Reused`]; `None` if nothing was
/// decided with it yet.
pub async fn known(store: &Store, key: &IdempotencyKey<'_>) -> Result<Option<Begun>, Failure> {
    within_deadline!(store, |tx| find(tx, key))
}

async fn find(tx: &mut Tx<'_>, key: &IdempotencyKey<'_>) -> Result<Option<Begun>, Failure> {
    type Row = (Vec<u8>, Option<i32>, Option<String>, Option<String>);
    let found: Option<Row> = sqlx::query_as(FIND).bind(key.subject).bind(key.key).fetch_optional(tx).await?;
    let Some((fingerprint, status, headers, body)) = found else { return Ok(None) };
    if fingerprint != key.fingerprint {
        return Ok(Some(Begun::Reused));
    }
    let broken = || Failure::failed("an idempotency key has no answer that can be read");
    let headers = serde_json::from_str(&headers.ok_or_else(broken)?).map_err(|_| broken())?;
    let status = status.and_then(|status| u16::try_from(status).ok()).ok_or_else(broken)?;
    Ok(Some(Begun::Replay(StoredAnswer { status, headers, body: body.ok_or_else(broken)? })))
}

/// Keeps the answer to a command whose key was new.
pub async fn finish(tx: &mut Tx<'_>, key: &IdempotencyKey<'_>, answer: &StoredAnswer) -> Result<(), Failure> {
    let StoredAnswer { status, headers, body } = answer;
    let headers = serde_json::to_string(headers).map_err(|error| Failure::failed(error.to_string()))?;
    let query = sqlx::query(FINISH).bind(key.subject).bind(key.key).bind(i32::from(*status)).bind(headers).bind(body);
    match query.execute(tx).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(Failure::failed("an idempotency key was not begun, or has its answer already")),
    }
}

/// Deletes up to `rows` keys that are older than this; `None` if another worker is doing it.
pub async fn expire_keys(store: &Store, older_than: Duration, rows: u32) -> Result<Option<u64>, Failure> {
    Piece { table: "idempotency_keys", time: "created_at", older_than, rows }.delete(store).await
}
