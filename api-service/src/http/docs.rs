//! `GET /openapi.json` and `GET /docs`: the OpenAPI document, and a page to read and try it. The binary contains all
//! files; the page loads nothing from other servers.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use super::Route;
use super::compression::{Coding, preferred};
use super::conditional::is_fresh;
use super::problem::{Code, Problem};

/// Caches may keep it but have to revalidate it, so that a new version shows at once.
pub(crate) const CACHE_CONTROL: &str = "public, no-cache";
/// The page loads and runs files of this server only, and sends requests only to it.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) struct Asset {
    pub(crate) name: &'static str,
    media_type: &'static str,
    is_gzip: bool,
    content: &'static [u8],
}

/// The files of the page, and the page of events. The build compresses Swagger UI, and every client gets it compressed: every browser can decompress gzip.
pub(crate) const FILES: [Asset; 5] = [
    Asset {
        name: "swagger-ui-bundle.js",
        media_type: "text/javascript",
        is_gzip: true,
        content: include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz")),
    },
    Asset {
        name: "swagger-ui.css",
        media_type: "text/css",
        is_gzip: true,
        content: include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz")),
    },
    Asset { name: "page.css", media_type: "text/css", is_gzip: false, content: include_bytes!("docs/page.css") },
    Asset {
        name: "events",
        media_type: "text/markdown; charset=utf-8",
        is_gzip: false,
        content: include_bytes!("../../../docs/events.md"),
    },
    Asset { name: "start.js", media_type: "text/javascript", is_gzip: false, content: include_bytes!("docs/start.js") },
];

/// Content as it is sent, with its hash.
pub(super) struct Served {
    headers: HeaderMap,
    tag: String,
    content: Bytes,
    /// The same content, compressed.
    compressed: Vec<(Coding, Bytes)>,
}

impl Served {
    /// `more` are further headers, or other values of the usual ones.
    pub(super) fn new(media_type: &'static str, content: Bytes, more: &[(HeaderName, &'static str)]) -> Self {
        let hash = digest(&SHA256, &content);
        let hash: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let tag = format!("\"{hash}\"");
        let usual = [
            (header::CONTENT_TYPE, media_type),
            (header::CACHE_CONTROL, CACHE_CONTROL),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in usual.iter().chain(more) {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
        if let Ok(tag) = HeaderValue::try_from(&tag) {
            headers.insert(header::ETAG, tag);
        }
        Self { headers, tag, content, compressed: Vec::new() }
    }

    /// Compresses it, once for all callers.
    fn with_codings(mut self) -> Self {
        self.headers.insert(header::VARY, HeaderValue::from_name(header::ACCEPT_ENCODING));
        let compressed = Coding::ALL.map(|coding| Some((coding, coding.compress(&self.content).ok()?.into())));
        self.compressed = compressed.into_iter().flatten().collect();
        self
    }

    pub(super) fn answer(&self, request: &HeaderMap) -> Response {
        let mut headers = self.headers.clone();
        let mut content = &self.content;
        let preferred = preferred(request);
        if let Some((coding, compressed)) = self.compressed.iter().find(|(coding, _)| Some(*coding) == preferred) {
            content = compressed;
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            if let Some(tag) = headers.get(header::ETAG).and_then(|tag| coding.tag(tag)) {
                headers.insert(header::ETAG, tag);
            }
        }
        if is_fresh(request, self.tag.as_bytes()) {
            headers.remove(header::CONTENT_TYPE);
            headers.remove(header::CONTENT_ENCODING);
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, content.clone()).into_response()
    }
}

pub(crate) const DOCUMENT: &str = "/openapi.json";
/// The page; its files are below this path.
pub(crate) const PAGE: &str = "/docs";
pub(crate) const FILE: &str = "/docs/{file}";

/// The routes of the document, of the page and of its files.
pub fn routes(document: impl FnOnce() -> String + Send + 'static) -> [Route; 3] {
    let document = LazyLock::new(move || Served::new("application/json", document().into(), &[]).with_codings());
    let document = Arc::new(document);
    let document = move |headers: HeaderMap| std::future::ready(document.answer(&headers));
    [(DOCUMENT, get(document)), (PAGE, get(page)), (FILE, get(file))]
}

async fn page(headers: HeaderMap) -> Response {
    static SERVED: LazyLock<Served> = LazyLock::new(|| {
        let page = Bytes::from_static(include_bytes!("docs/page.html"));
        let more = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, "no-referrer")];
        Served::new("text/html; charset=utf-8", page, &more)
    });
    SERVED.answer(&headers)
}

async fn file(path: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Result<Response, Problem> {
    static SERVED: LazyLock<[(&str, Served); FILES.len()]> = LazyLock::new(|| {
        FILES.map(|Asset { name, media_type, is_gzip, content }| {
            let packed = [(header::CONTENT_ENCODING, "gzip")];
            let more = if is_gzip { &packed[..] } else { &[] };
            (name, Served::new(media_type, Bytes::from_static(content), more))
        })
    });
    let name = path.map(|Path(name)| name).unwrap_or_default();
    let found = SERVED.iter().find(|(known, _)| *known == name);
    let (_, served) = found.ok_or_else(|| Problem::new(Code::NOT_FOUND, "the page has no such file"))?;
    Ok(served.answer(&headers))
}
