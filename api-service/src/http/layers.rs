//! The layers around every route.

use axum::Router;
use axum::http::header;
use shared::runtime::config::AccessLog;
use tower::ServiceBuilder;
use tower::layer::layer_fn;
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

use super::observe::Observed;
use super::request_id::{self, UuidV7};

/// The layers around every route and around the fallback, outermost first. axum gets them as one layer: each call of
/// its `layer` costs every request some boxes.
pub fn layered(routes: Router, access_log: AccessLog) -> Router {
    let layers = ServiceBuilder::new()
        .map_request(request_id::sane)
        .layer(SetRequestIdLayer::new(request_id::HEADER, UuidV7))
        .layer(PropagateRequestIdLayer::new(request_id::HEADER))
        // Printing a request must not print its secrets.
        .layer(SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION, header::COOKIE]))
        .layer(layer_fn(move |inner| Observed { inner, access_log }));
    routes.layer(layers)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::routing::post;
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn a_request_that_is_dropped_in_its_handler_is_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let routes = Router::new().route("/events", post(std::future::pending::<()>));
            let request = Request::post("/events").body(Body::empty()).unwrap();
            assert!(layered(routes, AccessLog::ERRORS).oneshot(request).now_or_never().is_none());
        });
        let counted = recorder.handle().render();
        let expected = r#"http_requests_total{method="POST",route="/events",status="499"} 1"#;
        assert!(counted.contains(expected), "{counted}");
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_its_message() {
        async fn defect() -> StatusCode {
            panic!("secret")
        }
        let routes = Router::new().route("/events", post(defect));
        let request = Request::post("/events").body(Body::empty()).unwrap();
        let response = layered(routes, AccessLog::ERRORS).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert!(response.headers().contains_key("x-request-id"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "internal");
        assert!(!body.to_string().contains("secret"));
    }
}
