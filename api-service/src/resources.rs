//! `GET /resource/{id}`: Redis → (miss) lease → PostgreSQL → fill while the lease stands.

use std::sync::LazyLock;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use metrics::Counter;
use shared::cache::{self, CacheKey, Lease, Lookup};
use shared::devices::DeviceId;
use shared::store::Failure;
use tokio::time::Instant;

use crate::answers::{in_time, roomy};
use crate::app::App;
use crate::auth::Reader;
use crate::flights::{self, Found, Landed, Settled, Ticket};
use crate::problem::{About, Code, Problem};

/// Where an answer came from: a `Cache-Status` (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Redis.
    Hit,
    /// PostgreSQL, and it is in Redis now.
    Stored,
    /// PostgreSQL.
    Miss,
    /// The query of another request.
    Joined,
    /// PostgreSQL, because Redis gave no answer.
    Bypass,
}

impl Source {
    pub(crate) const ALL: [Self; 5] = [Self::Hit, Self::Stored, Self::Miss, Self::Joined, Self::Bypass];

    /// Its name in the metrics, and the header.
    pub(crate) const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Hit => ("hit", "resource-cache; hit"),
            Self::Stored => ("stored", "resource-cache; fwd=miss; stored"),
            Self::Miss => ("miss", "resource-cache; fwd=miss"),
            Self::Joined => ("joined", "resource-cache; fwd=miss; collapsed"),
            Self::Bypass => ("bypass", "resource-cache; fwd=bypass"),
        }
    }

    fn counter(self) -> &'static Counter {
        // Looked up once, each in its place of `ALL`.
        static LOOKUPS: LazyLock<[Counter; 5]> = LazyLock::new(|| {
            Source::ALL.map(|source| metrics::counter!("cache_lookups_total", "outcome" => source.parts().0))
        });
        let [hit, stored, miss, joined, bypass] = &*LOOKUPS;
        match self {
            Self::Hit => hit,
            Self::Stored => stored,
            Self::Miss => miss,
            Self::Joined => joined,
            Self::Bypass => bypass,
        }
    }
}

impl From<Settled> for Source {
    fn from(settled: Settled) -> Self {
        match settled {
            Settled::Stored => Self::Stored,
            Settled::Passed => Self::Miss,
            Settled::Unanswered => Self::Bypass,
        }
    }
}

pub async fn show(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let deadline = Instant::now() + app.request_timeout;
    let (mut parts, _) = request.into_parts();
    // Parts of it, so that a hit sets no timer: a token that is remembered is ready at once, and Redis has
    // a deadline of its own.
    let reader = in_time(deadline, Reader::from_request_parts(&mut parts, &app)).await??;
    // What cannot be the name of a device names no resource.
    let path = Path::<String>::from_request_parts(&mut parts, &app).await;
    let id = path.ok().and_then(|Path(text)| text.parse::<DeviceId>().ok());
    let Some(id) = id else { return Err(Problem::new(Code::ResourceNotFound, "this is no resource's id")) };
    reader.allow(&id)?;

    let about = About { device_id: Some(id.clone()), event_id: None };
    let key = id.cache_key();
    let (found, source) = match app.cache.get(&key).await {
        Lookup::Hit(body) => hit(body),
        // In a box: it is large, and each hit would carry it along.
        lookup => in_time(deadline, Box::pin(fetch(&app, &key, lookup))).await?.map_err(|error| {
            tracing::warn!(device_id = %id, %error, "cannot read the resource");
            Problem::new(Code::StoreUnavailable, "try again later").about(about.clone())
        })?,
    };
    source.counter().increment(1);
    let mut response = answer(found, &parts.headers, &about);
    response.headers_mut().insert("cache-status", HeaderValue::from_static(source.parts().1));
    response.extensions_mut().insert(about);
    roomy(&app, response).await
}

fn hit(body: Bytes) -> (Found, Source) {
    (Found { version: cache::version(&body).unwrap_or(0), body }, Source::Hit)
}

/// What to do where it was not there.
async fn fetch(app: &App, key: &CacheKey, mut lookup: Lookup) -> Result<(Found, Source), Failure> {
    if lookup == Lookup::Miss {
        if let Some(lease) = app.cache.lease(key).await {
            // The lease may vanish meanwhile (a fence, an eviction, a restart of Redis), and the next reader takes another:
            // that is no reason for another query at a time.
            let query = {
                let (app, key) = (app.clone(), key.clone());
                async move { read(&app, &key).await }
            };
            let ticket = app.flights.start(app.cache.clone(), key.clone(), lease, query);
            return match flights::wait(ticket).await {
                Some(Ok((found, settled))) => Ok((found, settled.into())),
                Some(Err(error)) => Err(error),
                None => direct(app, key, None).await,
            };
        }
        // Somebody was quicker: what they left may be of use.
        lookup = app.cache.get(key).await;
    }
    match lookup {
        Lookup::Hit(body) => Ok(hit(body)),
        Lookup::Leased(lease) => match app.flights.join(&lease) {
            Some(ticket) => joined(app, key, ticket).await,
            // Of another process: whoever of us is done first fills.
            None => direct(app, key, Some(&lease)).await,
        },
        Lookup::Miss | Lookup::Corrupt => direct(app, key, None).await,
        Lookup::Unavailable => Ok((read(app, key).await?, Source::Bypass)),
    }
}

async fn joined(app: &App, key: &CacheKey, ticket: Ticket) -> Result<(Found, Source), Failure> {
    let landed: Option<Landed> = flights::wait(ticket).await;
    match landed {
        Some(landed) => landed.map(|(found, settled)| match settled {
            Settled::Stored | Settled::Passed => (found, Source::Joined),
            Settled::Unanswered => (found, Source::Bypass),
        }),
        None => direct(app, key, None).await,
    }
}

async fn direct(app: &App, key: &CacheKey, lease: Option<&Lease>) -> Result<(Found, Source), Failure> {
    let found = read(app, key).await?;
    let settled = flights::settle(&app.cache, key, lease, &found).await;
    Ok((found, settled.into()))
}

/// Reads a resource from PostgreSQL now, with whoever asks for it at the same time.
async fn read(app: &App, key: &CacheKey) -> Result<Found, Failure> {
    let store = app.store.clone();
    let query = move |key: CacheKey| {
        let store = store.clone();
        async move { flights::read(&store, &key).await }
    };
    app.collapse.read(key, query).await
}

fn answer(found: Found, headers: &HeaderMap, about: &About) -> Response {
    if found.version == 0 {
        return Problem::new(Code::ResourceNotFound, "there is no such resource").about(about.clone()).into_response();
    }
    let tag = tag(&found);
    let fresh = is_fresh(headers, tag.as_ref().map(HeaderValue::as_bytes).unwrap_or_default());
    let mut response = if fresh { StatusCode::NOT_MODIFIED.into_response() } else { found.body.into_response() };
    let answer = response.headers_mut();
    if !fresh {
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(tag) = tag {
        answer.insert(header::ETAG, tag);
    }
    // It may be kept by the one who asked, and must be asked for again.
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// The entity tag of a state: its version, and `updated_at`, which every body ends with. The version
/// alone would not do: a device that was forgotten begins anew at 1, and what was erased must not be
/// confirmed to whoever kept it.
fn tag(found: &Found) -> Option<HeaderValue> {
    let body = found.body.strip_suffix(b"\"}")?;
    let updated_at = body.rsplit(|byte| *byte == b'"').next()?;
    let version = found.version.to_string();
    let tag = [b"\"", version.as_bytes(), b"-", updated_at, b"\""].concat();
    HeaderValue::from_maybe_shared(Bytes::from(tag)).ok()
}

/// `If-None-Match` (RFC 9110, section 13.1.2): `*`, or a weak comparison with each entity tag listed.
pub(crate) fn is_fresh(headers: &HeaderMap, tag: &[u8]) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .map(HeaderValue::as_bytes)
        .any(|value| value.trim_ascii() == b"*" || entity_tags(value).any(|given| given == tag))
}

/// The entity tags of a list, each in its quotes and without `W/`, up to what is none.
fn entity_tags(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while let Some((b' ' | b'\t' | b',', rest)) = list.split_first() {
            list = rest;
        }
        let tag = list.strip_prefix(b"W/").unwrap_or(list);
        let end = tag.strip_prefix(b"\"")?.iter().position(|byte| *byte == b'"')?;
        let (tag, rest) = tag.split_at_checked(end + 2)?;
        list = rest;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match() {
        let fresh = |list: &'static str| {
            is_fresh(&[(header::IF_NONE_MATCH, HeaderValue::from_static(list))].into_iter().collect(), b"\"7\"")
        };
        for list in
            ["\"7\"", "W/\"7\"", "\"6\", \"7\"", "\"6\",W/\"7\" , \"8\"", "*", " * ", ",\"6,\",,\"7\"", "\"7\", 8"]
        {
            assert!(fresh(list), "{list}");
        }
        for list in [
            "",
            "7",
            "\"6\"",
            "\"77\"",
            "w/\"7\"",
            "\"6\", \"8\"",
            "\"x,*,y\"",
            "\"6\", *",
            "\"7",
            "8, \"7\"",
            "\"x\",\"y,\"7\"",
        ] {
            assert!(!fresh(list), "{list}");
        }
        assert!(!is_fresh(&HeaderMap::new(), b"\"7\""));
        let mut both = HeaderMap::new();
        for tag in ["\"6\"", "\"7\""] {
            both.append(header::IF_NONE_MATCH, HeaderValue::from_static(tag));
        }
        assert!(is_fresh(&both, b"\"7\""));
        assert!(!is_fresh(&both, b""));
    }

    #[test]
    fn the_tag_is_made_of_what_the_body_says_at_both_ends() {
        let tag_of = |body: &'static str| tag(&Found { version: 7, body: body.into() });
        let body = r#"{"version":7,"id":"d","payload":{"x": "\""},"event_id":"e","accepted_at":"2026-01-02T03:04:05.000001Z","updated_at":"2026-01-02T03:04:05.678901Z"}"#;
        assert_eq!(tag_of(body).unwrap(), "\"7-2026-01-02T03:04:05.678901Z\"");
        assert_eq!((tag_of("{}"), tag_of("")), (None, None));
    }
}
