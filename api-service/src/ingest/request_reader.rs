//! The first steps of every submission: token → rights → rate → format → memory → body. The number of events of a batch
//! is known only after its body: its rate is charged after that, see [`batch`](super::batch).

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use shared::kafka::Outgoing;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::trace::Publishing;
use super::{Endpoint, Ingest};
use crate::auth::{Caller, identify_or};
use crate::http::in_flight::MemoryPermit;
use crate::http::problem::Problem;
use crate::http::rate::Kind;
use crate::http::{body, correlation, encoding, request_id};

/// An admitted submission with its whole body. It holds its memory until the response.
pub(super) struct ReadRequest<F> {
    pub(super) parts: Parts,
    pub(super) caller: Arc<Caller>,
    pub(super) format: F,
    pub(super) bytes: Bytes,
    /// The memory of the body, which the response may reuse.
    pub(super) room: MemoryPermit,
    /// When the response is due: a slow body does not shorten Kafka's time. The handler enforces it, because the response
    /// then depends on how far the events had come.
    pub(super) deadline: Instant,
}

impl<F> ReadRequest<F> {
    /// Reads a request with a body of up to `limit` bytes, before and after decompression; charges `events` before
    /// that.
    pub(super) async fn read<I: Ingest>(
        endpoint: &Endpoint<I>,
        request: Request,
        limit: usize,
        events: u32,
        format: fn(&HeaderMap) -> Result<F, Problem>,
    ) -> Result<Self, Response> {
        let Endpoint { ingest, given, .. } = endpoint;
        let (parts, mut body) = request.into_parts();
        let read = async {
            let caller = identify_or(&parts.headers, &given.tokens, || ingest.anonymous()).await?;
            ingest.authorize(&caller)?;
            given.rates.charge(Kind::Events, &parts, caller.quota(), events)?;
            let format = format(&parts.headers)?;
            let mut room = given.in_flight.room(&parts.headers, limit)?.of(caller.quota());
            let pace = given.bodies.begin();
            let bytes = encoding::read(&parts.headers, &mut body, limit, &pace, &mut room).await?;
            Ok((caller, format, bytes, room))
        };
        match read.await {
            Ok((caller, format, bytes, room)) => {
                let deadline = Instant::now() + given.request_timeout;
                Ok(Self { parts, caller, format, bytes, room, deadline })
            }
            Err(problem) => Err(body::refuse(problem, &parts.headers, body).await),
        }
    }

    /// The id of the request, for the response and for the events.
    pub(super) fn request_id(&self) -> &str {
        request_id::text(self.parts.extensions.get())
    }

    /// The record of an event that was accepted at this time, with the data of its request.
    pub(super) fn record<I: Ingest>(
        &self,
        ingest: &I,
        event: &I::Admitted,
        accepted_at: OffsetDateTime,
        publishing: &Publishing,
    ) -> Outgoing {
        let mut record = ingest.record(event, accepted_at);
        record.envelope.request_id = Some(self.request_id().to_owned());
        record.envelope.correlation_id = Some(correlation::of(&self.parts));
        // A caller without a token has no name.
        record.envelope.user_id = (!self.caller.is_anonymous).then(|| self.caller.subject.clone());
        record.envelope.traceparent = publishing.header.clone();
        record
    }
}
