//! Around every request that has its id: its log line, its metrics, its span, and the form of its errors, a panic
//! among them.

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
use shared::devices::DeviceId;
use shared::kafka::ids::EventId;
use shared::runtime::config::AccessLog;
use tower::Service;
use tower_http::request_id::RequestId;

use crate::problem::{About, Problem};
use crate::request_id;
use crate::trace::Answering;

/// The layer inside of those that name a request. Not a function of axum's (`from_fn`), which boxes everything inside of it anew for
/// each request.
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
        let seen = Seen::of(&mut request, self.access_log);
        let answering = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let response = match answering.await {
                Ok(answer) => answer?.into_response(),
                // The log has the place, the caller gets no more than that it happened.
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            };
            Ok(seen.answered(response))
        })
    }
}

/// A request that is being answered. One that is dropped before it is answered is logged and counted too.
struct Seen {
    start: Instant,
    /// None outside of the layers that name requests.
    request_id: Option<RequestId>,
    method: &'static str,
    route: &'static str,
    /// None once it is answered.
    answering: Option<Answering>,
    access_log: AccessLog,
}

/// The status, in log and metrics alone, of a request whose connection ended before there was an answer: nginx made
/// it the usual one.
const NOT_ANSWERED: u16 = 499;

impl Seen {
    /// Notes what will be asked for, and hands the request what is behind here to know.
    fn of(request: &mut Request, access_log: AccessLog) -> Self {
        let start = Instant::now();
        let request_id = request.extensions().get::<RequestId>().cloned();
        let method = method(request.method());
        let route = route(request.extensions().get::<MatchedPath>());
        let (answering, passed) = Answering::begin(method, route, request.headers());
        if let Some(passed) = passed {
            request.extensions_mut().insert(passed);
        }
        Self { start, request_id, method, route, answering: Some(answering), access_log }
    }

    /// Writes a problem down, and tells of the answer.
    fn answered(mut self, mut response: Response) -> Response {
        let problem = match response.extensions_mut().remove::<Problem>() {
            None if response.status().is_client_error() || response.status().is_server_error() => {
                // Health says that it is not ready in a form of its own.
                let own = self.route.starts_with("/health") && response.status() == StatusCode::SERVICE_UNAVAILABLE;
                (!own).then(|| Problem::of_status(response.status()))
            }
            problem => problem,
        };
        if let Some(problem) = &problem {
            response = problem.write(response, request_id::text(self.request_id.as_ref()));
        }

        let answering = self.answering.take();
        let about = problem.as_ref().map(|problem| &problem.about).or_else(|| response.extensions().get::<About>());
        let line = Line {
            request_id: request_id::text(self.request_id.as_ref()),
            method: self.method,
            route: self.route,
            status: response.status().as_u16(),
            code: problem.as_ref().map(|problem| problem.code.as_str()),
            device_id: about.and_then(|about| about.device_id.as_ref()).map(DeviceId::as_str),
            event_id: about.and_then(|about| about.event_id.as_ref()).map(EventId::as_str),
            trace_id: answering.as_ref().and_then(Answering::trace_id),
            took: self.start.elapsed(),
        };
        line.tell(self.access_log, answering);
        response
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let Some(answering) = self.answering.take() else { return };
        let line = Line {
            request_id: request_id::text(self.request_id.as_ref()),
            method: self.method,
            route: self.route,
            status: NOT_ANSWERED,
            code: Some("not_answered"),
            device_id: None,
            event_id: None,
            trace_id: answering.trace_id(),
            took: self.start.elapsed(),
        };
        line.tell(self.access_log, Some(answering));
    }
}

thread_local! {
    /// Each looked up once by a thread: a series costs more to find than to count.
    static COUNTERS: RefCell<HashMap<[&'static str; 3], Counter>> = RefCell::default();
    static DURATIONS: RefCell<HashMap<&'static str, Histogram>> = RefCell::default();
}

struct Line<'a> {
    request_id: &'a str,
    method: &'static str,
    route: &'static str,
    status: u16,
    code: Option<&'static str>,
    device_id: Option<&'a str>,
    event_id: Option<&'a str>,
    trace_id: Option<String>,
    took: Duration,
}

macro_rules! ended {
    ($level:ident, $line:expr, $message:literal) => {
        // Every text is one that cannot leave its line: ours, or an identifier. Shown as such it has no
        // quotes in lines for people.
        tracing::$level!(
            request_id = %$line.request_id,
            method = %$line.method,
            route = %$line.route,
            status = $line.status,
            code = $line.code.map(tracing::field::display),
            device_id = $line.device_id.map(tracing::field::display),
            event_id = $line.event_id.map(tracing::field::display),
            trace_id = $line.trace_id.as_deref().map(tracing::field::display),
            duration_ms = $line.duration_ms(),
            $message
        )
    };
}

impl Line<'_> {
    /// Counts and logs it, and ends its span.
    fn tell(&self, access_log: AccessLog, answering: Option<Answering>) {
        self.count();
        self.log(access_log);
        if let Some(answering) = answering {
            let about =
                [("request_id", Some(self.request_id)), ("device_id", self.device_id), ("event_id", self.event_id)];
            answering.end(self.status, self.code, about);
        }
    }

    /// Errors always, and of all others those that `ACCESS_LOG` asks for.
    fn log(&self, access_log: AccessLog) {
        // Probes come every few seconds, and a state that changes is logged where it is found out.
        let probe = self.route.starts_with("/health");
        match self.status {
            NOT_ANSWERED => ended!(info, self, "not answered"),
            500.. if probe => ended!(debug, self, "answered"),
            500.. => ended!(warn, self, "answered"),
            400..500 => ended!(info, self, "answered"),
            _ if !access_log.takes(self.request_id) => {}
            _ if probe => ended!(debug, self, "answered"),
            _ => ended!(info, self, "answered"),
        }
    }

    /// In milliseconds, to the microsecond.
    fn duration_ms(&self) -> f64 {
        (self.took.as_secs_f64() * 1e6).round() / 1e3
    }

    fn count(&self) {
        let (method, route, status) = (self.method, self.route, status(self.status));
        COUNTERS.with_borrow_mut(|all| {
            all.entry([method, route, status])
                .or_insert_with(|| {
                    metrics::counter!("http_requests_total", "method" => method, "route" => route, "status" => status)
                })
                .increment(1);
        });
        DURATIONS.with_borrow_mut(|all| {
            all.entry(route)
                .or_insert_with(|| metrics::histogram!("http_request_duration_seconds", "route" => route))
                .record(self.took);
        });
    }
}

/// Callers must not be able to make up new series.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn route(matched: Option<&MatchedPath>) -> &'static str {
    let Some(matched) = matched else { return "none" };
    crate::app::ROUTES.into_iter().find(|route| *route == matched.as_str()).unwrap_or("other")
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
    known!(200 202 207 304 400 401 403 404 405 408 413 415 422 429 499 500 503)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        assert_eq!(status(202), "202");
        assert_eq!(status(418), "other");
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), "other");
        assert_eq!(route(None), "none");
    }
}
