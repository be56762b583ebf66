//! Commands: each is one transaction, with its idempotency key, its rows, its events and its answer.

mod place;
mod products;
mod rows;
mod videos;

use time::OffsetDateTime;

pub use self::place::{create_placement, create_placements, delete_placement, patch_placement};
pub use self::products::put_product;
pub use self::videos::{create_video, patch_video, request_validation};
use crate::cache::Fence;
use crate::kafka::Cause;
use crate::kafka::ids::EventId;
use crate::kafka::schemas::EventSchema;
use crate::placements::events::SOURCE;
use crate::runtime::json::Fault;
use crate::store::idempotency::{self, Begun, IdempotencyKey, StoredAnswer, WAIT};
use crate::store::outbox::{Boundary, Outbound};
use crate::store::{Failure, Store, Tx, Work};

/// What all commands have.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The caller's key, if it sent one.
    pub key: Option<IdempotencyKey<'a>>,
    /// What its events say of their cause.
    pub cause: Cause,
    /// When it came.
    pub now: OffsetDateTime,
}

/// What a command wrote, rendered for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The id of what it made or changed.
    pub id: String,
    /// Its version.
    pub version: i64,
    /// A JSON object; empty for what is deleted.
    pub body: String,
}

/// Why a command was refused: nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such video.
    NoVideo,
    /// There is no such placement.
    NoPlacement,
    /// Its version is none that the caller named.
    Stale,
    /// The video would have more than [`MAX_OF_VIDEO`](crate::placements::MAX_OF_VIDEO) placements.
    TooMany,
    /// The change would make it invalid: every fault.
    Faults(Vec<Fault>),
}

/// The outcome of a command.
pub type Outcome = Result<Written, Refused>;

/// Makes the answer of an outcome, which is kept with the key before the transaction ends.
pub type Render<'a> = &'a (dyn Fn(&Outcome) -> StoredAnswer + Sync);

/// Whether a caller who named versions named this one.
pub type May<'a, T> = &'a (dyn Fn(T) -> bool + Sync);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It was decided now.
    Decided {
        /// The outcome.
        outcome: Outcome,
        /// Its answer.
        answer: StoredAnswer,
        /// What the cache must not hold any more. To be sent at once.
        fences: Vec<Fence>,
    },
    /// It was decided before, with the same key.
    Replay(StoredAnswer),
    /// Another request has used the key.
    KeyReused,
    /// The first request with the key is not decided yet.
    InProgress,
}

/// What a command decided, with the fences of what it wrote.
type Decision = Result<(Written, Vec<Fence>), Refused>;

/// What a command does in its transaction. It writes nothing before it refuses.
trait Decide: Sync {
    fn decide(&self, call: &Call<'_>, tx: &mut Tx<'_>) -> impl Future<Output = Result<Decision, Failure>> + Send;
}

struct Command<'a, D> {
    call: &'a Call<'a>,
    render: Render<'a>,
    decide: D,
}

impl<D: Decide> Work for Command<'_, D> {
    type Output = Done;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Done, Failure> {
        let Self { call, render, decide } = self;
        if let Some(key) = &call.key {
            match idempotency::begin(tx, key).await? {
                Begun::New => {}
                Begun::Replay(answer) => return Ok(Done::Replay(answer)),
                Begun::Reused => return Ok(Done::KeyReused),
                Begun::InProgress => return Ok(Done::InProgress),
            }
        }
        let (outcome, fences) = match decide.decide(call, tx).await? {
            Ok((written, fences)) => (Ok(written), fences),
            Err(refused) => (Err(refused), Vec::new()),
        };
        let answer = render(&outcome);
        if let Some(key) = &call.key {
            idempotency::finish(tx, key, &answer).await?;
        }
        Ok(Done::Decided { outcome, answer, fences })
    }
}

async fn run(store: &Store, call: &Call<'_>, render: Render<'_>, decide: impl Decide) -> Result<Done, Failure> {
    store.transact(WAIT, &Command { call, render, decide }).await
}

impl Call<'_> {
    /// An event of a video's boundary with this number.
    fn event(
        &self,
        schema: &'static EventSchema,
        boundary: &Boundary,
        sequence: i64,
        subject: String,
        data: String,
    ) -> Outbound {
        Outbound {
            schema,
            aggregate: boundary.aggregate().clone(),
            sequence,
            id: EventId::generate(),
            source: SOURCE,
            subject,
            at: self.now,
            cause: self.cause.clone(),
            data,
        }
    }
}
