//! Lists by id, in pages.

use std::fmt::Display;
use std::str::FromStr;

use axum::response::Response;
use shared::placements::queries::reads::Page;

use super::answers::json;
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;

/// How many things a page of a list has, unless the caller asks for fewer or more.
pub(super) const DEFAULT_LIMIT: u16 = 50;
pub(super) const MAX_LIMIT: u16 = 100;

/// Where a page begins, and how long it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query<T> {
    pub(super) after: Option<T>,
    pub(super) limit: u16,
}

impl<T: FromStr> Query<T> {
    pub(super) fn of(given: &Parameters<'_>) -> Result<Self, Problem> {
        Ok(Self { after: after(given)?, limit: limit(given, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) })
    }
}

pub(super) fn after<T: FromStr>(given: &Parameters<'_>) -> Result<Option<T>, Problem> {
    given.get("after", "the `next` of an earlier page", |text| text.parse().ok())
}

pub(super) fn limit(given: &Parameters<'_>, most: u16) -> Result<Option<u16>, Problem> {
    let expected = format!("a number from 1 to {most}");
    given.get("limit", &expected, |text| text.parse().ok().filter(|limit| (1..=most).contains(limit)))
}

/// A page as JSON. Its items are JSON already, and `more` are further members of it.
pub(super) fn answer<T: Display>(name: &str, page: &Page<T>, more: &str) -> Response {
    let next = page.next.as_ref().map_or("null".to_owned(), |next| format!("\"{next}\""));
    json(format!(r#"{{"{name}":[{}],{more}"next":{next}}}"#, page.items.join(",")))
}

#[cfg(test)]
mod tests {
    use shared::placements::{ProductId, VideoId};

    use super::*;

    #[test]
    fn the_query() {
        fn query<T: FromStr>(text: &str) -> Result<Query<T>, Problem> {
            Query::of(&Parameters::of(&format!("/videos?{text}").parse().unwrap()))
        }
        let id = VideoId::generate();
        assert_eq!(query(&format!("after={id}&limit=100&_=1")).unwrap(), Query { after: Some(id), limit: 100 });
        assert_eq!(query::<VideoId>("").unwrap(), Query { after: None, limit: 50 });
        assert_eq!(query("after=mug").unwrap().after, Some("mug".parse::<ProductId>().unwrap()));
        for (text, name) in [("limit=0", "limit"), ("limit=101", "1 to 100"), ("after=x", "after"), ("after=", "after")]
        {
            let problem = String::from_utf8(query::<VideoId>(text).unwrap_err().body("r")).unwrap();
            assert!(problem.contains(name) && problem.contains("bad_request"), "{text}: {problem}");
        }
    }
}
