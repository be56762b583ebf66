//! Wraps every request after it has its id: writes its log line, its metrics and its span, and gives all errors, panics
//! included, the form of a problem.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use metrics::{Counter, Histogram};
use shared::kafka::ids::EventId;
use shared::runtime::config::AccessLog;
use tower::Service;
use tower_http::request_id::RequestId;
use tracing::Level;

use super::problem::{Code, Problem};
use super::request_id;
use super::subject::{About, Answered, Subject};
use super::trace::Answering;

/// The layer inside those that set the request id. Not axum's `from_fn`, which boxes the inner service again for each
/// request.
#[derive(Debug, Clone)]
pub struct Observed<S> {
    pub inner: S,
    pub access_log: AccessLog,
}

impl<S> Service<Request> for Observed<S>
where
    S: Service<Request, Response: IntoResponse, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let context = RequestContext::of(&mut request, self.access_log);
        let answering = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let response = match answering.await {
                Ok(answer) => answer?.into_response(),
                // The panic hook has logged the place; the caller gets no details.
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            };
            Ok(context.answered(response))
        })
    }
}

/// A request in progress. One that is dropped before its response is logged and counted too.
struct RequestContext {
    start: Instant,
    /// `None` outside of the layers that set request ids.
    request_id: Option<RequestId>,
    method: &'static str,
    route: Option<MatchedPath>,
    /// `None` after the response was reported.
    answering: Option<Answering>,
    access_log: AccessLog,
}

/// The status, only in log and metrics, of a request whose connection ended before the response. The number is nginx's.
const NOT_ANSWERED: u16 = 499;

/// The path of a route as in the router: callers cannot create new values.
fn route_name(route: Option<&MatchedPath>) -> &str {
    route.map_or("none", MatchedPath::as_str)
}

impl RequestContext {
    /// Records the data of the request, and puts the trace context into its extensions.
    fn of(request: &mut Request, access_log: AccessLog) -> Self {
        let start = Instant::now();
        let request_id = request.extensions().get::<RequestId>().cloned();
        let method = method(request.method());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let (answering, passed) = Answering::begin(method, route_name(route.as_ref()), request.headers());
        if let Some(passed) = passed {
            request.extensions_mut().insert(passed);
        }
        Self { start, request_id, method, route, answering: Some(answering), access_log }
    }

    /// Writes a problem into the response, and reports the response.
    fn answered(mut self, mut response: Response) -> Response {
        let problem = match response.extensions_mut().remove::<Problem>() {
            None if response.status().is_client_error() || response.status().is_server_error() => {
                // The health route has its own body for "not ready".
                let own = self.is_probe() && response.status() == StatusCode::SERVICE_UNAVAILABLE;
                (!own).then(|| Problem::of_status(response.status()))
            }
            problem => problem,
        };
        if let Some(problem) = &problem {
            response = problem.write(response, request_id::text(self.request_id.as_ref()));
        }
        let about = problem.as_ref().map(|problem| &problem.about).or_else(|| response.extensions().get::<About>());
        let code = problem.as_ref().map(|problem| problem.code);
        self.report(response.status().as_u16(), code, about);
        response
    }

    /// Probes come every few seconds, and a change of state is logged where it is detected.
    fn is_probe(&self) -> bool {
        route_name(self.route.as_ref()).starts_with("/health")
    }

    /// Counts and logs the request, and ends its span. A second call does nothing.
    fn report(&mut self, status: u16, code: Option<Code>, about: Option<&About>) {
        let Some(answering) = self.answering.take() else { return };
        let (route, took) = (route_name(self.route.as_ref()), self.start.elapsed());
        count(self.method, route, status, took);
        let request_id = request_id::text(self.request_id.as_ref());
        let subject = about.and_then(|about| about.subject.as_ref());
        let event_id = about.and_then(|about| about.event_id.as_ref()).map(EventId::as_str);
        let line = self.line(status, code.is_some_and(Code::is_rule), request_id);
        // Only the log and the trace know this one.
        let code = if status == NOT_ANSWERED { Some("not_answered") } else { code.map(Code::as_str) };
        if let Some((level, message)) = line {
            let trace_id = answering.trace_id();
            let (trace_id, request, took) = (trace_id.as_deref(), Some((self.method, route)), Some(took));
            let index = None;
            Answered { level, request_id, request, index, status, code, event_id, trace_id, took, message }
                .log(subject);
        }
        let ids = [("request_id", Some(request_id)), ("event_id", event_id)];
        let subject = subject.map(Subject::field).map(|(name, id)| (name, Some(id)));
        answering.end(status, code, ids.into_iter().chain(subject));
    }

    /// The level and message of the log line, if there is one: always for errors, otherwise as `ACCESS_LOG` says.
    fn line(&self, status: u16, is_rule: bool, request_id: &str) -> Option<(Level, &'static str)> {
        let usual = if self.is_probe() { Level::DEBUG } else { Level::INFO };
        match status {
            NOT_ANSWERED => Some((Level::INFO, "not answered")),
            500.. if self.is_probe() => Some((Level::DEBUG, "answered")),
            500.. => Some((Level::WARN, "answered")),
            400..500 if !is_rule => Some((Level::INFO, "answered")),
            _ => self.access_log.takes(request_id).then_some((usual, "answered")),
        }
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        self.report(NOT_ANSWERED, None, None);
    }
}

/// The series of a route: the counters by method and status, and the durations.
struct Series {
    requests: HashMap<[&'static str; 2], Counter>,
    durations: Histogram,
}

thread_local! {
    /// Each thread looks a series up once: finding it costs more than counting.
    static SERIES: RefCell<HashMap<Box<str>, Series>> = RefCell::default();
}

fn count(method: &'static str, route: &str, code: u16, took: Duration) {
    let code = status(code);
    let counter =
        || metrics::counter!("http_requests_total", "method" => method, "route" => route.to_owned(), "status" => code);
    SERIES.with_borrow_mut(|all| {
        if !all.contains_key(route) {
            let durations = metrics::histogram!("http_request_duration_seconds", "route" => route.to_owned());
            all.insert(route.into(), Series { requests: HashMap::new(), durations });
        }
        if let Some(series) = all.get_mut(route) {
            series.requests.entry([method, code]).or_insert_with(counter).increment(1);
            series.durations.record(took);
        }
    });
}

/// Unknown methods share a label: callers must not be able to create new series.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["POST", "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

fn status(status: u16) -> &'static str {
    macro_rules! known {
        ($($code:literal)*) => {
            match status {
                $($code => stringify!($code),)*
                _ => "other",
            }
        };
    }
    known!(200 201 202 207 304 400 401 403 404 405 408 409 412 413 415 422 428 429 499 500 503)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        assert_eq!(status(202), "202");
        assert_eq!(status(418), "other");
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), "other");
        assert_eq!(route_name(None), "none");
    }
}
