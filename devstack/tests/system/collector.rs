//! A trace collector: accepts OTLP over HTTP and keeps what it receives.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use tokio::net::TcpListener;

use crate::prelude::*;

#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    /// The span kind in OTLP: 2 is server, 4 producer, 5 consumer.
    pub(crate) kind: i32,
    pub(crate) failed: bool,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) events: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    headers: Vec<HeaderMap>,
    raw: Vec<u8>,
}

impl Collector {
    pub(crate) async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (collector, endpoint)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().spans.clone()
    }

    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.0.lock().unwrap().headers.clone()
    }

    /// Whether the received bytes contain this text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap().raw).contains(text)
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else { return StatusCode::BAD_REQUEST };
    let mut taken = collector.0.lock().unwrap();
    taken.raw.extend_from_slice(&body);
    taken.headers.push(headers);
    for of_service in request.resource_spans {
        let resource = of_service.resource.map(|resource| pairs(resource.attributes)).unwrap_or_default();
        for span in of_service.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            taken.spans.push(Span {
                service: resource["service.name"].clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                kind: span.kind,
                failed: span.status.is_some_and(|status| status.code == 2),
                attributes: pairs(span.attributes),
                events: span.events.into_iter().map(|event| event.name).collect(),
            });
        }
    }
    StatusCode::OK
}

fn pairs(attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
