//! The internal port: metrics, and health for who has no other port.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

/// How often what was recorded is put into its buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a service says of itself: whether it is ready, and a JSON text with the reasons.
pub type Health = (bool, serde_json::Value);

/// Serves `/metrics`, `/health/live` and `/health/ready` until the process ends.
///
/// # Errors
/// The listener fails.
pub async fn serve<F, H>(listener: TcpListener, metrics: PrometheusHandle, health: F) -> std::io::Result<()>
where
    F: Fn() -> H + Send + Sync + 'static,
    H: Future<Output = Health> + Send,
{
    let health = Arc::new(health);
    // Histograms keep every sample until then, and nobody may ever ask for them.
    let recorded = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            recorded.run_upkeep();
        }
    });
    let app = Router::new()
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .route("/health/live", get(async || axum::Json(serde_json::json!({"status": "live"}))))
        .route(
            "/health/ready",
            get(move || {
                let health = Arc::clone(&health);
                async move {
                    let (ready, body) = health().await;
                    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, axum::Json(body))
                }
            }),
        );
    axum::serve(listener, app).await
}
