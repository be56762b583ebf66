//! Cached reads for every domain: Redis → (miss) lease → PostgreSQL → fill while the lease stands.

mod collapse;
mod many;
pub mod openapi;
mod single_flight;

use std::fmt::Display;
use std::ptr;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use axum::extract::{FromRequestParts as _, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use metrics::{Counter, describe_counter};
use shared::cache::{self, Cache, CacheKey, Kind, Lease, Lookup};
use shared::store::{Failure, Store};
use tokio::time::Instant;

use self::collapse::Collapse;
use self::single_flight::SingleFlight;
use crate::http::in_flight::InFlight;
use crate::http::is_fresh;
use crate::http::problem::{Code, Problem};
use crate::http::response_budget::{in_time, within_budget};
use crate::http::subject::About;

/// Where an answer came from: a `Cache-Status` (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Redis.
    Hit,
    /// PostgreSQL, and it is in Redis now.
    Stored,
    /// PostgreSQL. Redis holds neither this state nor an older one.
    Miss,
    /// The query of another request.
    Joined,
    /// PostgreSQL, because Redis did not answer, or is not asked for this: it may hold an older state until the next
    /// fence.
    Bypass,
}

impl Source {
    /// In the order above.
    pub(crate) const ALL: [Self; 5] = [Self::Hit, Self::Stored, Self::Miss, Self::Joined, Self::Bypass];

    /// The names in the metrics and in the header.
    pub(crate) const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Hit => ("hit", "resource-cache; hit"),
            Self::Stored => ("stored", "resource-cache; fwd=miss; stored"),
            Self::Miss => ("miss", "resource-cache; fwd=miss"),
            Self::Joined => ("joined", "resource-cache; fwd=miss; collapsed"),
            Self::Bypass => ("bypass", "resource-cache; fwd=bypass"),
        }
    }
}

/// The counters of the reads of one kind.
struct Lookups {
    kind: &'static Kind,
    /// In the order of `Source::ALL`. Looked up once: finding a series costs more than counting.
    counters: OnceLock<[Counter; 5]>,
}

impl Lookups {
    fn of(kind: &'static Kind) -> Self {
        Self { kind, counters: OnceLock::new() }
    }

    fn count(&self, source: Source) {
        let (name, kind) = ("cache_lookups_total", self.kind.name());
        let counter = |source: Source| metrics::counter!(name, "kind" => kind, "outcome" => source.parts().0);
        if let Some(counter) = self.counters.get_or_init(|| Source::ALL.map(counter)).get(source as usize) {
            counter.increment(1);
        }
    }
}

/// The state that PostgreSQL has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loaded {
    /// The number of events applied; 0 if there is no such resource.
    version: i64,
    body: Bytes,
}

/// A state, as a domain reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub version: i64,
    pub body: Bytes,
    /// The value of `Cache-Status`.
    pub source: HeaderValue,
}

/// Reads resources through the cache.
pub struct Cached {
    cache: Cache,
    /// Reads of PostgreSQL under a lease.
    flights: SingleFlight,
    /// Reads of PostgreSQL without a lease.
    collapse: Collapse,
    answers: InFlight,
    request_timeout: Duration,
    lookups: Vec<Lookups>,
}

impl Cached {
    /// Serves these kinds from `cache`, and from `store` on a miss; large responses take memory from `answers`.
    pub fn new(
        cache: Cache,
        kinds: &[&'static Kind],
        store: Store,
        answers: InFlight,
        request_timeout: Duration,
    ) -> Self {
        let collapse = Collapse::new(move |key| read(store.clone(), key).boxed());
        let lookups = kinds.iter().copied().map(Lookups::of).collect();
        Self { cache, flights: SingleFlight::default(), collapse, answers, request_timeout, lookups }
    }

    /// When the response to a request that arrives now is due.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout
    }

    /// Responds with the resource of a key: 404 if there is none, 503 if it cannot be read. The caller's rights must be
    /// checked before.
    pub async fn show(
        &self,
        key: &CacheKey,
        headers: &HeaderMap,
        deadline: Instant,
        about: About,
    ) -> Result<Response, Problem> {
        let (found, source) = self.state(key, deadline).await.map_err(|problem| problem.about(about.clone()))?;
        let mut response = answer(found, headers, &about);
        response.headers_mut().insert("cache-status", HeaderValue::from_static(source.parts().1));
        response.extensions_mut().insert(about);
        within_budget(&self.answers, response).await
    }

    /// Responds with a body of one of its kinds that was read past the cache: with the entity tag of a state, or 304.
    pub fn show_loaded(&self, loaded: shared::store::Loaded, headers: &HeaderMap, about: About) -> Response {
        answer(Loaded { version: loaded.version, body: loaded.body.into() }, headers, &about)
    }

    /// The state of a key, for a domain that answers with more than its body; `None` if there is none. The caller's
    /// rights must be checked before. Errors: 503 if it cannot be read, or not in time.
    pub async fn find(&self, key: &CacheKey, deadline: Instant) -> Result<Option<Found>, Problem> {
        let (Loaded { version, body }, source) = self.state(key, deadline).await?;
        let source = HeaderValue::from_static(source.parts().1);
        Ok((version > 0).then_some(Found { version, body, source }))
    }

    /// The state of a key and its source. Errors: 503 if it cannot be read, or not in time.
    async fn state(&self, key: &CacheKey, deadline: Instant) -> Result<(Loaded, Source), Problem> {
        let (found, source) = match self.cache.get(key).await {
            Lookup::Hit(body) => hit(body),
            // Boxed: the future is large, and every hit would carry it along.
            lookup => in_time(deadline, Box::pin(self.fetch(key, lookup))).await?.map_err(|error| {
                tracing::warn!(%key, %error, "cannot read the resource");
                Problem::new(Code::STORE_UNAVAILABLE, "try again later")
            })?,
        };
        match self.lookups.iter().find(|lookups| ptr::eq(lookups.kind, key.kind())) {
            Some(lookups) => lookups.count(source),
            // The domain did not declare this kind.
            None => Lookups::of(key.kind()).count(source),
        }
        Ok((found, source))
    }

    /// Reads a key that was not in the cache.
    async fn fetch(&self, key: &CacheKey, mut lookup: Lookup) -> Result<(Loaded, Source), Failure> {
        let Self { cache, flights, collapse, .. } = self;
        if lookup == Lookup::Miss {
            if let Some(lease) = cache.lease(key).await {
                // The lease may vanish meanwhile (a fence, an eviction, a restart of Redis), and the next reader takes
                // another. `collapse` still runs one query at a time for the key.
                return match flights.start(cache.clone(), key.clone(), lease, collapse.clone()).await {
                    Some(landed) => landed,
                    None => self.direct(key, None).await,
                };
            }
            // Another reader has the lease, or has filled the cache already.
            lookup = cache.get(key).await;
        }
        match lookup {
            Lookup::Hit(body) => Ok(hit(body)),
            Lookup::Leased(lease) => match flights.join(&lease) {
                Some(flight) => match flight.await {
                    Some(Ok((found, Source::Stored | Source::Miss))) => Ok((found, Source::Joined)),
                    Some(landed) => landed,
                    None => self.direct(key, None).await,
                },
                // A lease of another process: the first of us to finish fills the cache.
                None => self.direct(key, Some(&lease)).await,
            },
            Lookup::Miss | Lookup::Corrupt => self.direct(key, None).await,
            Lookup::Unavailable => Ok((collapse.read(key).await?, Source::Bypass)),
        }
    }

    async fn direct(&self, key: &CacheKey, lease: Option<&Lease>) -> Result<(Loaded, Source), Failure> {
        let found = self.collapse.read(key).await?;
        let source = single_flight::settle(&self.cache, key, lease, &found).await;
        Ok((found, source))
    }
}

async fn read(store: Store, key: CacheKey) -> Result<Loaded, Failure> {
    let loaded = (key.kind().load)(&store, std::slice::from_ref(key.id())).await?;
    Ok(match loaded.into_iter().next() {
        Some(loaded) => Loaded { version: loaded.version, body: loaded.body.into() },
        None => Loaded { version: 0, body: Bytes::new() },
    })
}

/// Parses the only parameter of the path, percent-decoded; 404 if it is not a valid id.
pub async fn in_path<T: FromStr<Err: Display>>(parts: &mut Parts) -> Result<T, Problem> {
    let refused = |why: String| Problem::new(Code::RESOURCE_NOT_FOUND, why);
    let Ok(Path(text)) = Path::<String>::from_request_parts(parts, &()).await else {
        return Err(refused("the id in the path is not UTF-8, percent-encoded".to_owned()));
    };
    text.parse().map_err(|error| refused(format!("the id in the path {error}")))
}

fn none() -> Problem {
    Problem::new(Code::RESOURCE_NOT_FOUND, "there is no such resource")
}

pub fn describe() {
    cache::describe();
    describe_counter!("cache_lookups_total", "Reads of cached resources, by kind and by where the answer came from.");
}

fn hit(body: Bytes) -> (Loaded, Source) {
    (Loaded { version: cache::version(&body).unwrap_or(0), body }, Source::Hit)
}

fn answer(found: Loaded, headers: &HeaderMap, about: &About) -> Response {
    if found.version == 0 {
        return none().about(about.clone()).into_response();
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
    // A private cache may keep it and has to revalidate it.
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// The entity tag of a state: its version, and `updated_at`, which every body ends with. The version alone is not
/// enough: an erased resource that is made again starts at version 1, and a 304 must not confirm an erased state.
fn tag(found: &Loaded) -> Option<HeaderValue> {
    HeaderValue::try_from(tag_of(found.version, &found.body)?).ok()
}

/// The entity tag of the state with this version and this body.
pub(crate) fn tag_of(version: i64, body: &[u8]) -> Option<String> {
    let body = body.strip_suffix(b"\"}")?;
    let updated_at = std::str::from_utf8(body.rsplit(|byte| *byte == b'"').next()?).ok()?;
    Some(format!("\"{version}-{updated_at}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_made_of_what_the_body_says_at_both_ends() {
        let tag_of = |body: &'static str| tag(&Loaded { version: 7, body: body.into() });
        let body = r#"{"version":7,"id":"d","payload":{"x": "\""},"event_id":"e","accepted_at":"2026-01-02T03:04:05.000001Z","updated_at":"2026-01-02T03:04:05.678901Z"}"#;
        assert_eq!(tag_of(body).unwrap(), "\"7-2026-01-02T03:04:05.678901Z\"");
        assert_eq!((tag_of("{}"), tag_of("")), (None, None));
    }
}
