//! Compression of answers, as the caller's `Accept-Encoding` asks for it. Only of the answers that ask for it here: what
//! Redis holds is sent as it is, because compressing it would cost more than a cache hit.
//!
//! Not tower-http's layer, which compresses while the client reads: each slow reader would hold an encoder, of up to a
//! megabyte, that no budget counts.

use std::fmt::Display;
use std::io::{self, Write as _};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::conditional::lists;
use super::in_flight::InFlight;
use super::problem::Problem;
use super::response_budget::within_budget;

/// Smaller answers are not compressed: there is nothing to gain.
const LEAST: u64 = 1024;
/// The fastest level of zstd. More would save little, and cost time that accepting events needs.
const ZSTD_LEVEL: i32 = 1;
/// How many answers are compressed at once. Further ones wait, each with its memory permit: so encoders take little
/// memory, and leave processors to the other requests.
static TURNS: Semaphore = Semaphore::const_new(2);

/// A content coding of answers. Among those that a caller likes equally the greatest is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    pub(crate) const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// Its name in headers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The entity tag of an answer with this coding: other bytes are another representation, with a strong tag of its
    /// own (RFC 9110, section 8.8.3). `None` for a weak tag, which stays as it is.
    pub(crate) fn tag(self, tag: &HeaderValue) -> Option<HeaderValue> {
        let opened = tag.as_bytes().strip_suffix(b"\"").filter(|opened| opened.starts_with(b"\""))?;
        HeaderValue::from_bytes(&[opened, b"-", self.name().as_bytes(), b"\""].concat()).ok()
    }

    /// Blocks its thread: some 50 ms for the largest answers.
    pub(crate) fn compress(self, content: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(content.len() / 4), Compression::fast());
                encoder.write_all(content)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(content, ZSTD_LEVEL),
        }
    }
}

/// The coding that the caller's `Accept-Encoding` prefers (RFC 9110, section 12.5.3); `None` for none. `*` counts for
/// none: a client that decompresses names what it can.
pub(crate) fn preferred(headers: &HeaderMap) -> Option<Coding> {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let choices = lists.flat_map(|list| list.split(',')).filter_map(choice).filter(|(weight, _)| *weight > 0.0);
    choices.max_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)))?.1
}

/// An item of the list: its weight, which is 0 if it is malformed, and its coding, `None` for `identity`.
fn choice(item: &str) -> Option<(f32, Option<Coding>)> {
    let (name, weight) = match item.split_once(';') {
        None => (item, 1.0),
        Some((name, parameter)) => {
            let weight = parameter.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.trim_start().strip_prefix('='));
            let weight = weight.and_then(|weight| weight.trim().parse::<f32>().ok());
            (name, weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0))
        }
    };
    let name = name.trim();
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    // RFC 9110 keeps x-gzip for gzip.
    let coding = if is("x-gzip") { Some(Coding::Gzip) } else { Coding::ALL.into_iter().find(|known| is(known.name())) };
    (coding.is_some() || is("identity")).then_some((weight, coding))
}

/// These handlers, whose answers are compressed from [`LEAST`] bytes on. Large answers take their memory from `budget`,
/// before and after.
pub fn compressed(handlers: MethodRouter, budget: &InFlight) -> MethodRouter {
    handlers.layer(from_fn_with_state(budget.clone(), compress))
}

async fn compress(State(budget): State<InFlight>, request: Request, next: Next) -> Result<Response, Problem> {
    let (coding, asked) = (preferred(request.headers()), request.headers().clone());
    let mut response = next.run(request).await;
    if response.status() == StatusCode::NOT_MODIFIED {
        let headers = response.headers_mut();
        // As the answer that it stands for.
        headers.append(header::VARY, HeaderValue::from_name(header::ACCEPT_ENCODING));
        if let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag_in_hand(&asked, coding, tag)) {
            headers.insert(header::ETAG, tag);
        }
        return Ok(response);
    }
    if response.body().size_hint().lower() < LEAST || response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(response);
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_name(header::ACCEPT_ENCODING));
    let Some(coding) = coding else { return Ok(response) };

    let (mut parts, body) = response.into_parts();
    // It is in memory already, in one piece, which is not copied; its permit is released with it.
    let content = body.collect().await.map_err(|error| failed(&error))?.to_bytes();
    // Nobody closes it.
    let turn = TURNS.acquire().await.map_err(|error| failed(&error))?;
    let work = spawn_blocking(move || {
        let compressed = coding.compress(&content);
        drop(turn);
        compressed
    });
    let content = work.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    if let Some(tag) = parts.headers.get(header::ETAG).and_then(|tag| coding.tag(tag)) {
        parts.headers.insert(header::ETAG, tag);
    }
    within_budget(&budget, Response::from_parts(parts, content.into())).await
}

/// The tag of a 304 to a caller that has asked with these headers: that of an answer that it has, first of one with the
/// coding that it prefers. A cache goes on with the answer that has this very tag (RFC 9111, section 4.3.4). `None` if the
/// caller names none of them.
fn tag_in_hand(asked: &HeaderMap, coding: Option<Coding>, tag: &HeaderValue) -> Option<HeaderValue> {
    let preferred = coding.and_then(|coding| coding.tag(tag));
    let others = Coding::ALL.into_iter().filter_map(|coding| coding.tag(tag));
    let mut all = preferred.into_iter().chain([tag.clone()]).chain(others);
    all.find(|tag| lists(asked, tag.as_bytes()))
}

fn failed(error: &dyn Display) -> Problem {
    tracing::error!(%error, "cannot compress an answer");
    Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample;

    use super::*;
    use crate::http::{IfMatch, is_fresh};

    fn chosen(list: &str) -> Option<Coding> {
        preferred(&[(header::ACCEPT_ENCODING, HeaderValue::try_from(list).unwrap())].into_iter().collect())
    }

    #[test]
    fn what_clients_send() {
        let (gzip, zstd) = (Some(Coding::Gzip), Some(Coding::Zstd));
        for (list, expected) in [
            ("gzip, deflate, br, zstd", zstd),
            ("gzip, deflate, br", gzip),
            ("gzip, deflate", gzip),
            ("gzip,deflate;q=0.9", gzip),
            ("X-GZIP", gzip),
            ("zstd ; q = 0.5 , gzip;q=0.8", gzip),
            ("gzip;Q=0.2, zstd;q=0.200", zstd),
            ("gzip;q=1.0, identity; q=0.5, *;q=0", gzip),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.1, gzip;q=0", None),
            ("zstd;q=0", None),
            ("", None),
            ("*", None),
            ("br", None),
            ("identity", None),
            ("gzip;q=2, zstd;q=x, zstd;level=3", None),
            ("gzipped", None),
        ] {
            assert_eq!(chosen(list), expected, "{list}");
        }
        assert_eq!(preferred(&HeaderMap::new()), None);
        let mut two = HeaderMap::new();
        for line in ["br", "gzip"] {
            two.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        assert_eq!(preferred(&two), gzip);
    }

    #[test]
    fn each_coding_has_a_tag_of_its_own_which_names_the_same_state() {
        let tag = HeaderValue::from_static("\"7-a\"");
        let tags = Coding::ALL.map(|coding| coding.tag(&tag).unwrap());
        assert_eq!(tags, ["\"7-a-gzip\"", "\"7-a-zstd\""]);
        for given in tags {
            let headers: HeaderMap =
                [header::IF_NONE_MATCH, header::IF_MATCH].into_iter().map(|name| (name, given.clone())).collect();
            assert!(is_fresh(&headers, tag.as_bytes()), "{given:?}");
            let if_match = IfMatch::required(&headers).unwrap();
            assert!(if_match.check(tag.as_bytes()).is_ok() && if_match.names_any(|it| it == b"7-a"), "{given:?}");
        }
        for other in ["W/\"7\"", "7", "\"", "\"7", ""] {
            assert_eq!(Coding::Gzip.tag(&HeaderValue::from_static(other)), None, "{other}");
        }
    }

    #[test]
    fn a_304_has_the_tag_of_an_answer_that_the_caller_has() {
        for (list, coding, expected) in [
            ("\"7\"", None, Some("\"7\"")),
            ("\"7\"", Some(Coding::Gzip), Some("\"7\"")),
            ("\"7\", \"7-gzip\"", Some(Coding::Gzip), Some("\"7-gzip\"")),
            ("\"7\", \"7-gzip\"", Some(Coding::Zstd), Some("\"7\"")),
            ("\"7-gzip\", W/\"7-zstd\"", Some(Coding::Zstd), Some("\"7-zstd\"")),
            ("\"7-gzip\"", Some(Coding::Zstd), Some("\"7-gzip\"")),
            ("\"7-gzip\"", None, Some("\"7-gzip\"")),
            ("\"7--gzip\"", Some(Coding::Gzip), None),
            ("*", Some(Coding::Gzip), None),
        ] {
            let asked = [(header::IF_NONE_MATCH, HeaderValue::from_static(list))].into_iter().collect();
            let found = tag_in_hand(&asked, coding, &HeaderValue::from_static("\"7\""));
            assert_eq!(found.as_ref().map(HeaderValue::as_bytes), expected.map(str::as_bytes), "{list} {coding:?}");
        }
    }

    proptest! {
        /// No other has a greater weight, and equal weights prefer what compresses better.
        #[test]
        fn the_greatest_weight_wins(
            list in vec((sample::select(&["identity", "gzip", "zstd", "br", "*"][..]), 0..=1000_u16), 0..6)
        ) {
            let text: Vec<_> = list.iter().map(|(name, q)| format!("{name};q={}.{:03}", q / 1000, q % 1000)).collect();
            let rank = |name: &str| ["identity", "gzip", "zstd"].iter().position(|known| *known == name);
            let known = list.iter().filter_map(|(name, q)| Some((*q, rank(name)?))).filter(|(q, _)| *q > 0);
            let best = known.max().map_or(0, |(_, rank)| rank);
            let expected = [None, Some(Coding::Gzip), Some(Coding::Zstd)][best];
            prop_assert_eq!(chosen(&text.join(", ")), expected);
        }
    }
}
