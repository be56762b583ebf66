//! Cross-origin requests (CORS): the web pages of other origins that may call the API from a browser. Without
//! `CORS_ORIGINS` there are none, and no answer has a header of CORS.

use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use reqwest::Url;
use tower::ServiceBuilder;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::request_id;

/// How long a browser may keep the answer to a preflight. Chrome keeps none for longer.
const MAX_AGE: Duration = Duration::from_secs(2 * 3_600);
/// The headers of answers that a page may read, beside the few that it always may.
const EXPOSED: [HeaderName; 13] = [
    header::ETAG,
    header::LOCATION,
    HeaderName::from_static("cache-status"),
    header::RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    request_id::HEADER,
    header::LINK,
    header::ALLOW,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("preference-applied"),
    super::idempotency::REPLAYED,
    HeaderName::from_static("x-revision"),
];

/// The origins of `CORS_ORIGINS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    exact: Vec<HeaderValue>,
    /// Every port of this machine, for development.
    localhost: bool,
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut origins = Self { exact: Vec::new(), localhost: false };
        for item in text.split(',').map(str::trim) {
            if item.eq_ignore_ascii_case("localhost") {
                origins.localhost = true;
            } else {
                origins.exact.push(exact(item)?);
            }
        }
        Ok(origins)
    }
}

/// An origin in the form in which browsers send it: scheme, host and port, and no more.
fn exact(text: &str) -> Result<HeaderValue, String> {
    let url = Url::parse(text).ok();
    let origin = url.as_ref().and_then(|url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{}{port}", url.scheme(), url.host_str().filter(|host| !host.is_empty())?))
    });
    match origin {
        None => Err(format!("{text:?} is not an origin, such as https://dashboard.example or http://localhost:3000")),
        Some(origin) if origin != text => Err(format!("{text:?} is not an origin as browsers send it: write {origin}")),
        Some(origin) => HeaderValue::try_from(origin).map_err(|error| error.to_string()),
    }
}

impl Origins {
    fn allow(&self, origin: &HeaderValue) -> bool {
        self.exact.contains(origin) || (self.localhost && origin.to_str().is_ok_and(is_localhost))
    }
}

/// Whether an origin is of this machine, on any port.
fn is_localhost(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let port = host
        .and_then(|host| ["localhost", "127.0.0.1", "[::1]"].into_iter().find_map(|local| host.strip_prefix(local)));
    port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
}

/// These routes, which pages of these origins may call. Answers preflights, and every other `OPTIONS`, before any check
/// of the request; every other answer gets the headers by which the browser shows it to the page, also 401, 404 and
/// 500: to be called with everything that answers.
pub fn allowed(routes: Router, origins: &Origins) -> Router {
    let origins = origins.clone();
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| origins.allow(origin)))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        // Attributes of CloudEvents are headers with any name. Nothing is sent by itself, such as cookies, so that a
        // page of an allowed origin can do only what its token allows.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE);
    routes.layer(ServiceBuilder::new().layer(layer).layer(from_fn(caught)))
}

/// Turns a panic into an answer, which gets the headers, too.
async fn caught(request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use shared::runtime::config::AccessLog;
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::layers::layered;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for good in [
            "https://a.example",
            "http://a.example:8080,https://b.example",
            " https://a.example , localhost ",
            "LOCALHOST",
            "http://[::1]:3000",
            "https://xn--4ca.example",
            "capacitor://localhost",
        ] {
            good.parse::<Origins>().unwrap_or_else(|said| panic!("{good}: {said}"));
        }
        for (wrong, said) in [
            ("https://a.example/", "write https://a.example"),
            ("https://A.example", "write https://a.example"),
            ("https://a.example:443", "write https://a.example"),
            ("http://a.example:8080/x?y#z", "write http://a.example:8080"),
            ("https://u:p@a.example", "write https://a.example"),
            ("https://ä.example", "write https://xn--4ca.example"),
            ("http://127.1", "write http://127.0.0.1"),
            ("*", "\"*\" is not an origin, such as"),
            ("null", "is not an origin, such as"),
            ("a.example", "is not an origin, such as"),
            ("file:///x", "is not an origin, such as"),
            ("https://a.example,", "\"\" is not an origin, such as"),
            ("", "is not an origin, such as"),
        ] {
            let found = wrong.parse::<Origins>().unwrap_err();
            assert!(found.contains(said), "{wrong}: {found}");
        }
    }

    #[test]
    fn an_origin_is_allowed_only_as_it_is_written() {
        let origins: Origins = "https://a.example, http://b.example:8080".parse().unwrap();
        let allow = |origins: &Origins, origin: &str| origins.allow(&HeaderValue::try_from(origin).unwrap());
        for good in ["https://a.example", "http://b.example:8080"] {
            assert!(allow(&origins, good), "{good}");
        }
        let strange = ["null", "", "http://a.example", "https://a.example:8443", "https://a.example.evil.example"];
        let local = ["http://localhost", "http://localhost:3000", "https://127.0.0.1:8443", "http://[::1]:65535"];
        for bad in strange.iter().chain(&local) {
            assert!(!allow(&origins, bad), "{bad}");
        }
        let origins: Origins = "localhost, https://a.example".parse().unwrap();
        for good in local.iter().chain(&["https://a.example"]) {
            assert!(allow(&origins, good), "{good}");
        }
        let near = [
            "http://localhost.evil.example",
            "http://localhost:",
            "http://localhost:x",
            "ftp://localhost",
            "http://localhost:3000/",
            "http://localhost:65536",
            "http://127.0.0.10",
            "http://u@localhost",
        ];
        for bad in strange.iter().chain(&near) {
            assert!(!allow(&origins, bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_page_sees_that_there_was_a_defect() {
        async fn defect() -> StatusCode {
            panic!("secret")
        }
        let routes = allowed(Router::new().route("/x", get(defect)), &"https://a.example".parse().unwrap());
        let request = Request::get("/x").header(header::ORIGIN, "https://a.example").body(Body::empty()).unwrap();
        let answer = layered(routes, AccessLog::ERRORS).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
    }
}
