//! What both kinds of submissions begin with: token → role → rate → format → room → body. What a batch costs is in its
//! body: its rate comes after that, see [`batch`](crate::batch).

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::Writer;
use crate::in_flight::Room;
use crate::problem::Problem;
use crate::{body, encoding};

/// A submission that was let in, and is here whole. It takes its room until it is answered.
pub(crate) struct Intake<F> {
    pub(crate) parts: Parts,
    pub(crate) writer: Writer,
    pub(crate) format: F,
    pub(crate) bytes: Bytes,
    /// What it takes up, and its answer may go on to.
    pub(crate) room: Room,
    /// When the answer is due: the handler keeps it itself, because what it answers then depends
    /// on how far the events had come.
    pub(crate) deadline: Instant,
}

impl<F> Intake<F> {
    /// Reads a request with a body of up to `limit` bytes, sent and unpacked; `events` are charged before that.
    ///
    /// # Errors
    /// The answer of who is refused, once what is left of the body is out of the way.
    pub(crate) async fn read(
        app: &App,
        request: Request,
        limit: usize,
        events: u32,
        format: fn(&HeaderMap) -> Result<F, Problem>,
    ) -> Result<Self, Response> {
        let start = Instant::now();
        let deadline = start + app.request_timeout;
        let (mut parts, mut body) = request.into_parts();
        match admit(app, &mut parts, &mut body, limit, events, start + app.body_timeout, format).await {
            Ok((writer, format, room, bytes)) => Ok(Self { parts, writer, format, bytes, room, deadline }),
            Err(problem) => Err(body::refuse(problem, &parts.headers, body).await),
        }
    }
}

async fn admit<F>(
    app: &App,
    parts: &mut Parts,
    body: &mut Body,
    limit: usize,
    events: u32,
    deadline: Instant,
    format: fn(&HeaderMap) -> Result<F, Problem>,
) -> Result<(Writer, F, Room, Bytes), Problem> {
    let writer = Writer::from_request_parts(parts, app).await?;
    writer.charge(events)?;
    let format = format(&parts.headers)?;
    let mut room = app.in_flight.room(&parts.headers, limit)?.of(writer.subject());
    let bytes = encoding::read(&parts.headers, body, limit, deadline, &mut room).await?;
    Ok((writer, format, room, bytes))
}
