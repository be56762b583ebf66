//! What the handlers share, and every route and layer on one screen.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::{get, post};
use shared::cache::Cache;
use shared::devices::RESOURCE;
use shared::runtime::config::AccessLog;
use shared::store::Store;
use tower::ServiceBuilder;
use tower::layer::layer_fn;
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

use crate::auth::tokens::Tokens;
use crate::collapse::Collapse;
use crate::config::{Config, DeviceBinding};
use crate::flights::Flights;
use crate::health::{self, Health};
use crate::in_flight::InFlight;
use crate::observe::Observed;
use crate::producer::Producer;
use crate::rate::{Rates, announce};
use crate::request_id::{self, UuidV7};
use crate::server::Limits;
use crate::{batch, docs, events, history, probes, resources};

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

pub struct Shared {
    pub tokens: Tokens,
    pub rates: Rates,
    pub in_flight: InFlight,
    pub answers: InFlight,
    pub device_binding: DeviceBinding,
    pub producer: Producer,
    pub cache: Cache,
    pub store: Store,
    /// Reads of PostgreSQL under a lease.
    pub flights: Flights,
    /// Those without one.
    pub collapse: Collapse,
    pub health: Health,
    pub probe: probes::KafkaProbe,
    pub request_timeout: Duration,
    /// How long its body may take: what Kafka does not need of that.
    pub body_timeout: Duration,
    pub limits: Limits,
    pub access_log: AccessLog,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// Builds everything; nothing has to be up, and no port is bound.
    pub fn build(config: &Config) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Shared {
            tokens: Tokens::new(&config.jwt)?,
            rates: Rates::new(&config.rates),
            in_flight: InFlight::new(config.http.max_bytes_in_flight),
            answers: InFlight::new(config.http.max_bytes_in_flight),
            device_binding: config.jwt.jwt_device_binding,
            producer: Producer::new(config)?,
            cache: Cache::open(&config.redis, &[&RESOURCE])?,
            store: Store::open(&config.postgres, "api-service")?,
            flights: Flights::default(),
            collapse: Collapse::default(),
            health: Health::default(),
            probe: probes::KafkaProbe::new(config)?,
            request_timeout: config.http.request_timeout,
            body_timeout: config.body_timeout(),
            limits: Limits::of(&config.http),
            access_log: config.access_log.access_log,
        })))
    }

    /// Every route and layer, outermost first.
    pub fn router(&self) -> Router {
        let [events, batch, resource, history, live, ready, document, page, file] = ROUTES;
        let routes = Router::new()
            .route(events, post(events::submit))
            .route(batch, post(batch::submit))
            .route(resource, get(resources::show))
            .route(history, get(history::show))
            .route(live, get(health::live))
            .route(ready, get(health::ready))
            .route(document, get(docs::document))
            .route(page, get(docs::page))
            .route(file, get(docs::file));
        let routes = if self.rates.any() { routes.layer(axum::middleware::from_fn(announce)) } else { routes };
        layered(routes.with_state(self.clone()), self.access_log)
    }
}

/// Every route's path, as in the metrics and in the document.
pub const ROUTES: [&str; 9] = [
    "/events",
    "/events/batch",
    "/resource/{id}",
    "/resource/{id}/events",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/docs",
    "/docs/{file}",
];

/// The layers around every route, and around what is none, outermost first. They are one to axum: each call of its
/// `layer` costs every request some boxes.
fn layered(routes: Router, access_log: AccessLog) -> Router {
    let layers = ServiceBuilder::new()
        .map_request(request_id::sane)
        .layer(SetRequestIdLayer::new(request_id::HEADER, UuidV7))
        .layer(PropagateRequestIdLayer::new(request_id::HEADER))
        // Whoever prints a request prints no secret.
        .layer(SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION, header::COOKIE]))
        .layer(layer_fn(move |inner| Observed { inner, access_log }));
    routes.layer(layers)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
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
        let routes = Router::new().route(
            "/events",
            post(|| async {
                if true {
                    panic!("secret");
                }
            }),
        );
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
