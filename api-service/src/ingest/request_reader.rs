//! What both kinds of submissions begin with: token → rights → rate → format → memory → body. What a batch costs is in
//! its body: its rate comes after that, see [`batch`](super::batch).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use tokio::time::Instant;

use super::{Endpoint, Ingest};
use crate::auth::{Caller, identify};
use crate::http::in_flight::MemoryPermit;
use crate::http::problem::Problem;
use crate::http::rate::{Account, Kind};
use crate::http::{body, encoding};

/// A submission that was let in, and is here whole. It takes its memory until it is answered.
pub(super) struct Intake<F> {
    pub(super) parts: Parts,
    pub(super) caller: Arc<Caller>,
    pub(super) account: Account,
    pub(super) format: F,
    pub(super) bytes: Bytes,
    /// What it takes up, and its answer may go on to.
    pub(super) room: MemoryPermit,
    /// When the answer is due: the handler keeps it itself, because what it answers then depends
    /// on how far the events had come.
    pub(super) deadline: Instant,
}

struct Admitted<F>(Arc<Caller>, Account, F, MemoryPermit, Bytes);

impl<F> Intake<F> {
    /// Reads a request with a body of up to `limit` bytes, sent and unpacked; `events` are charged before that.
    ///
    /// # Errors
    /// The answer of who is refused, once what is left of the body is out of the way.
    pub(super) async fn read<I: Ingest>(
        endpoint: &Endpoint<I>,
        request: Request,
        limit: usize,
        events: u32,
        format: fn(&HeaderMap) -> Result<F, Problem>,
    ) -> Result<Self, Response> {
        let start = Instant::now();
        let deadline = start + endpoint.given.request_timeout;
        let (parts, mut body) = request.into_parts();
        match admit(endpoint, &parts, &mut body, limit, events, start, format).await {
            Ok(Admitted(caller, account, format, room, bytes)) => {
                Ok(Self { parts, caller, account, format, bytes, room, deadline })
            }
            Err(problem) => Err(body::refuse(problem, &parts.headers, body).await),
        }
    }
}

async fn admit<I: Ingest, F>(
    Endpoint { ingest, given, .. }: &Endpoint<I>,
    parts: &Parts,
    body: &mut Body,
    limit: usize,
    events: u32,
    start: Instant,
    format: fn(&HeaderMap) -> Result<F, Problem>,
) -> Result<Admitted<F>, Problem> {
    let caller = identify(&parts.headers, &given.tokens).await?;
    ingest.authorize(&caller)?;
    let account = given.rates.account(Kind::Events, parts);
    account.charge(&caller.subject, events)?;
    let format = format(&parts.headers)?;
    let mut room = given.in_flight.room(&parts.headers, limit)?.of(&caller.subject);
    let bytes = encoding::read(&parts.headers, body, limit, start + given.body_timeout, &mut room).await?;
    Ok(Admitted(caller, account, format, room, bytes))
}
