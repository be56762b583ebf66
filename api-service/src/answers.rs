//! Large answers stay in memory until their clients have taken them in: how many bytes of them
//! there may be at once. Those who read slowly can keep each other waiting, and nobody else. Answers
//! to batches count as the bodies do, each for its subject.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::in_flight::Room;
use crate::problem::Problem;

/// Smaller ones do not count: as many as there may be connections are no harm.
const SMALL: u64 = 16 * 1024;

/// An answer's bytes, which take up their room for as long as anybody holds them.
struct Counted(Bytes, #[expect(dead_code, reason = "it is held")] Room);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Waits for a part of the answer to what only reads, and may as well be asked again, until the request's
/// deadline. A submission keeps its deadline itself, see there.
pub(crate) async fn in_time<T>(deadline: Instant, part: impl Future<Output = T>) -> Result<T, Problem> {
    timeout_at(deadline, part).await.map_err(|_| Problem::of_status(StatusCode::SERVICE_UNAVAILABLE))
}

pub(crate) async fn roomy(app: &App, response: Response) -> Result<Response, Problem> {
    let size = response.body().size_hint().lower();
    if size <= SMALL {
        return Ok(response);
    }
    let mut room = app.answers.empty();
    room.cover(usize::try_from(size).unwrap_or(usize::MAX))?;
    Ok(within(room, response).await)
}

/// An answer in room that was taken for it, and that a large one keeps for as long as anybody holds its bytes.
pub(crate) async fn within(room: Room, response: Response) -> Response {
    if response.body().size_hint().lower() <= SMALL {
        return response;
    }
    let (parts, body) = response.into_parts();
    match body.collect().await {
        // In one piece already, which is not copied.
        Ok(whole) => Response::from_parts(parts, Body::from(Bytes::from_owner(Counted(whole.to_bytes(), room)))),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::extract::Request;
    use axum::http::header;
    use clap::Parser;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;
    use tokio::time::timeout;
    use tower::ServiceExt;

    use super::*;
    use crate::config::Config;
    use crate::problem::Code;

    const SECRET: &str = "a secret that is long enough for this";

    /// Nothing is there: PostgreSQL would be waited for for two seconds.
    #[tokio::test]
    async fn a_read_has_the_time_of_a_request_and_no_more() {
        let settings = ["api-service", "--kafka-brokers", "127.0.0.1:1", "--jwt-secret", SECRET];
        let stores = ["--database-url", "postgres://127.0.0.1:1/x", "--redis-url", "redis://127.0.0.1:1"];
        let times = ["--request-timeout", "50ms", "--redis-timeout", "10ms"];
        let config = Config::try_parse_from(settings.into_iter().chain(stores).chain(times)).unwrap();
        let routes = App::build(&config).unwrap().router();
        let claims = json!({"sub": "test", "roles": ["admin"], "exp": 4_000_000_000_u64});
        let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
        for path in ["/resource/device", "/resource/device/events"] {
            let bearer = format!("Bearer {token}");
            let request = Request::get(path).header(header::AUTHORIZATION, bearer).body(Body::empty()).unwrap();
            let answer = timeout(Duration::from_secs(30), routes.clone().oneshot(request)).await;
            let answer = answer.expect("it ends by itself").unwrap();
            assert_eq!(answer.status(), 503, "{path}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], Code::TimedOut.as_str(), "{path}");
        }
    }
}
