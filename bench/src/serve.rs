//! The ceilings that are servers: bare axum without any of the API's guarantees.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use bytes::Bytes;
use clap::ValueEnum;
use rdkafka::producer::{FutureProducer, FutureRecord};
use redis::aio::ConnectionManager;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use crate::records;

/// Which ceiling, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    kind: Kind,
    #[arg(long)]
    bind: SocketAddr,
    /// Of `redis`: where it is.
    #[arg(long)]
    redis: Option<String>,
    /// Of `redis`: what its keys start with.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Of `produce`: where Kafka is.
    #[arg(long, default_value = "")]
    brokers: String,
    /// Of `produce`: where the events go.
    #[arg(long, default_value = "")]
    topic: String,
    /// Of `bytes`: what is answered.
    #[arg(long, default_value = "")]
    answer: String,
}

/// What a ceiling does.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// Parses the body of an event, and answers 202.
    Parse,
    /// The same, once Kafka has acknowledged the event: what is left of `POST /events` where nobody is
    /// asked for a token, and of the event nothing is checked or told.
    Produce,
    /// Answers with what one GET finds in Redis.
    Redis,
    /// Answers the same bytes to everyone.
    Bytes,
}

pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let routes = match settings.kind {
        Kind::Parse => Router::new().route("/events", post(parse)),
        Kind::Produce => {
            let producer: FutureProducer = records::settings(&settings.brokers)?.create()?;
            Router::new().route("/events", post(produce)).with_state((producer, settings.topic.clone()))
        }
        Kind::Redis => {
            let url = settings.redis.as_deref().context("--redis")?;
            let connection = ConnectionManager::new(redis::Client::open(url)?).await?;
            Router::new().route("/resource/{id}", get(one_get)).with_state((connection, settings.prefix.clone()))
        }
        Kind::Bytes => {
            let answer = Bytes::from(settings.answer.clone());
            Router::new().route("/resource/{id}", get(move || std::future::ready(json(answer.clone()))))
        }
    };
    let listener = TcpListener::bind(settings.bind).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, routes).await?)
}

/// The minimal parse of an event: well-formed JSON with the two required members.
#[derive(Deserialize)]
struct Event<'a> {
    device_id: &'a str,
    #[serde(borrow)]
    payload: &'a RawValue,
}

fn event(body: &[u8]) -> Option<Event<'_>> {
    let event: Event<'_> = serde_json::from_slice(body).ok()?;
    (!event.device_id.is_empty() && !event.payload.get().is_empty()).then_some(event)
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(Accepted { status: "accepted" })).into_response()
}

async fn parse(body: Bytes) -> Response {
    event(&body).map_or_else(|| StatusCode::UNPROCESSABLE_ENTITY.into_response(), |_| accepted())
}

async fn produce(State((producer, topic)): State<(FutureProducer, String)>, body: Bytes) -> Response {
    let Some(event) = event(&body) else { return StatusCode::UNPROCESSABLE_ENTITY.into_response() };
    let record = FutureRecord::to(&topic).key(event.device_id).payload(event.payload.get());
    match producer.send(record, Duration::ZERO).await {
        Ok(_) => accepted(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

#[derive(serde::Serialize)]
struct Accepted {
    status: &'static str,
}

async fn one_get(State((connection, prefix)): State<(ConnectionManager, String)>, Path(id): Path<String>) -> Response {
    let found: Result<Option<Bytes>, _> =
        redis::cmd("GET").arg(format!("{prefix}{id}")).query_async(&mut connection.clone()).await;
    match found {
        Ok(Some(body)) => json(body),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn json(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
