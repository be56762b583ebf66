//! Reads a call whose body is JSON and no event: a query or a command.
//!
//! The order: token → rights → rate → content type → memory → body. So nobody who may not call it fills the memory.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use shared::kafka::cloud_events::essence;

use super::Backbone;
use crate::auth::internal::Internal;
use crate::auth::{Caller, identify_or};
use crate::http::in_flight::MemoryPermit;
use crate::http::problem::{Code, Problem};
use crate::http::rate::Kind;
use crate::http::response_budget::in_time;
use crate::http::{body, content_type, encoding};

/// What a call takes.
#[derive(Clone, Copy)]
pub struct JsonCall<'a> {
    /// The media types of its body.
    pub types: &'static [&'static str],
    /// The most bytes of its body, before and after decompression.
    pub limit: usize,
    /// Its cost, charged before the body is read; 0 if only the body tells it.
    pub cost: (Kind, u32),
    /// The caller of a request without any `Authorization` header, if it may come.
    pub anonymous: Option<&'a Arc<Caller>>,
    /// If only services of ours may call it: their tokens, instead of those of users.
    pub services: Option<&'a Internal>,
}

/// A call with its whole body.
#[derive(Debug)]
pub struct JsonRequest {
    pub parts: Parts,
    pub caller: Arc<Caller>,
    pub bytes: Bytes,
    /// The memory of the body. To be dropped together with it.
    pub room: MemoryPermit,
}

impl Backbone {
    /// Reads a call; `may` checks the rights of its caller. The body may be compressed, and need not be JSON. Errors:
    /// 401, 403, 429, 415, 413, 408, 400 and 503.
    pub async fn read_json(
        &self,
        request: Request,
        call: JsonCall<'_>,
        may: impl FnOnce(&Caller) -> Result<(), Problem> + Send,
    ) -> Result<JsonRequest, Response> {
        let JsonCall { types, limit, cost: (kind, cost), anonymous, services } = call;
        let (parts, mut body) = request.into_parts();
        let read = async {
            let caller = match services {
                Some(services) => services.identify(&parts.headers)?,
                None => {
                    let caller = identify_or(&parts.headers, &self.tokens, || anonymous.cloned());
                    in_time(self.cached.deadline(), caller).await??
                }
            };
            may(&caller)?;
            self.rates.charge(kind, &parts, caller.quota(), cost)?;
            let given = essence(content_type(&parts.headers));
            if !types.iter().any(|known| known.eq_ignore_ascii_case(given)) {
                let detail = format!("the content type must be {}", types.join(" or "));
                return Err(Problem::new(Code::UNSUPPORTED_MEDIA_TYPE, detail));
            }
            let mut room = self.ingest.in_flight.room(&parts.headers, limit)?.of(caller.quota());
            let pace = self.ingest.bodies.begin();
            let bytes = encoding::read(&parts.headers, &mut body, limit, &pace, &mut room).await?;
            Ok((caller, bytes, room))
        };
        match read.await {
            Ok((caller, bytes, room)) => Ok(JsonRequest { parts, caller, bytes, room }),
            Err(problem) => Err(body::refuse(problem, &parts.headers, body).await),
        }
    }
}
