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
use tokio::net::TcpSocket;

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
    /// Of `produce`: how long an event waits for others, in milliseconds, instead of the default.
    #[arg(long)]
    linger: Option<String>,
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
    /// Parses the ids of a query, and answers with what one MGET finds in Redis.
    Many,
    /// Answers the same bytes to everyone.
    Bytes,
}

/// As the API's. Its limit of connections, 10,000, is far above what a row opens; a ceiling has none.
const BACKLOG: u32 = 4_096;

pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let routes = match settings.kind {
        Kind::Parse => Router::new().route("/events", post(parse)),
        Kind::Produce => {
            let mut client = records::settings(&settings.brokers)?;
            if let Some(linger) = &settings.linger {
                client.set("linger.ms", linger);
            }
            let producer: FutureProducer = client.create()?;
            Router::new().route("/events", post(produce)).with_state((producer, settings.topic.clone()))
        }
        Kind::Redis | Kind::Many => {
            let url = settings.redis.as_deref().context("--redis")?;
            let connection = ConnectionManager::new(redis::Client::open(url)?).await?;
            let routes = match settings.kind {
                Kind::Redis => Router::new().route("/resource/{id}", get(one_get)),
                _ => Router::new().route("/resources/query", post(one_mget)),
            };
            routes.with_state((connection, settings.prefix.clone()))
        }
        Kind::Bytes => {
            let answer = Bytes::from(settings.answer.clone());
            Router::new().route("/resource/{id}", get(move || std::future::ready(json(answer.clone()))))
        }
    };
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(settings.bind)?;
    let listener = socket.listen(BACKLOG)?.tap_io(|stream| {
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

/// The minimal parse of a query.
#[derive(Deserialize)]
struct Query<'a> {
    #[serde(borrow)]
    ids: Vec<&'a str>,
}

async fn one_mget(State((connection, prefix)): State<(ConnectionManager, String)>, body: Bytes) -> Response {
    let Ok(Query { ids }) = serde_json::from_slice(&body) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    let mut command = redis::cmd("MGET");
    for id in &ids {
        command.arg(format!("{prefix}{id}"));
    }
    let found: Result<Vec<Option<Bytes>>, _> = command.query_async(&mut connection.clone()).await;
    let Ok(found) = found else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let bodies: Vec<&[u8]> = found.iter().flatten().map(|body| &body[..]).collect();
    if bodies.len() != ids.len() {
        return StatusCode::NOT_FOUND.into_response();
    }
    json([&br#"{"items":["#[..], &bodies.join(&b','), b"]}"].concat().into())
}

fn json(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
