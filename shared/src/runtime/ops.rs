//! The internal port: metrics, and health checks.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// The interval at which recorded samples are put into histogram buckets.
const UPKEEP: Duration = Duration::from_secs(5);
/// The most connections at once; further ones wait.
const CONNECTIONS: usize = 64;
/// The timeout of a connection, which has a single request and its response.
const WHOLE: Duration = Duration::from_secs(10);
/// The wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The readiness of a service: whether it is ready, and a JSON document with the reasons.
pub type Health = (bool, serde_json::Value);

/// Serves `/metrics`, `/health/live` and `/health/ready` until the process ends. An error of a connection never stops
/// it.
pub async fn serve<F, H>(listener: TcpListener, metrics: PrometheusHandle, health: F) -> Infallible
where
    F: Fn() -> H + Send + Sync + 'static,
    H: Future<Output = Health> + Send,
{
    // Histograms keep every sample until the upkeep, even if the metrics are never scraped.
    let recorded = metrics.clone();
    tokio::spawn(async move {
        loop {
            sleep(UPKEEP).await;
            recorded.run_upkeep();
        }
    });
    let router = router(metrics, health);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&room).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the internal port");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let connection =
            http1::Builder::new().keep_alive(false).half_close(true).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // An aborted or slow connection is not an error of the service.
            let _ = timeout(WHOLE, connection).await;
            drop(place);
        });
    }
}

fn router<F, H>(metrics: PrometheusHandle, health: F) -> Router
where
    F: Fn() -> H + Send + Sync + 'static,
    H: Future<Output = Health> + Send,
{
    let health = Arc::new(health);
    let ready = move || {
        let health = Arc::clone(&health);
        async move {
            let (ready, body) = health().await;
            (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, axum::Json(body))
        }
    };
    Router::new()
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .route("/health/live", get(async || axum::Json(serde_json::json!({"status": "live"}))))
        .route("/health/ready", get(ready))
        .fallback(async || problem(StatusCode::NOT_FOUND, "not_found", "No such path"))
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
        })
}

/// A problem document like the API's (RFC 9457).
fn problem(status: StatusCode, code: &str, title: &str) -> Response {
    let kind = format!("/problems/{code}");
    let body = serde_json::json!({"type": kind, "title": title, "status": status.as_u16(), "code": code});
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;

    async fn start() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        tokio::spawn(serve(listener, metrics, async || (true, serde_json::json!({}))));
        address
    }

    /// The whole response, until the connection is closed.
    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = String::new();
        timeout(Duration::from_secs(60), stream.read_to_string(&mut all)).await.expect("it is not closed").unwrap();
        all
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_problem() {
        let address = start().await;
        for (line, status, code) in [
            ("GET /health/live", "200 OK", r#"{"status":"live"}"#),
            ("GET /nothing", "404 Not Found", "\"code\":\"not_found\""),
            ("POST /metrics", "405 Method Not Allowed", "\"code\":\"method_not_allowed\""),
        ] {
            let answer = ask(address, &format!("{line} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.contains(code), "{answer}");
            assert_eq!(answer.contains("application/problem+json"), !line.ends_with("live"), "{answer}");
            assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_says_nothing_keeps_others_waiting_for_a_while_at_most() {
        let address = start().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metr").await.unwrap();
            silent.push(stream);
        }
        let start = Instant::now();
        let answer = ask(address, "GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        println!("beside {CONNECTIONS} silent ones it took {:?}", start.elapsed());
        for stream in &mut silent {
            let mut end = Vec::new();
            timeout(Duration::from_secs(60), stream.read_to_end(&mut end)).await.expect("it is not closed").unwrap();
        }
    }
}
