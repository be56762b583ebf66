//! The parameters of a query string. Unknown ones are ignored: clients and proxies add their own (`_=<time>`).

use std::borrow::Cow;

use axum::http::Uri;

use super::problem::{Code, Problem};

pub(crate) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    pub(crate) fn of(uri: &'a Uri) -> Self {
        Self(form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).collect())
    }

    /// The value of a parameter, if it is given; `read` returns `None` for one that is not `expected`. The error names
    /// the parameter.
    pub(crate) fn get<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let mut given = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
        match (given.next(), given.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(Problem::new(Code::BAD_REQUEST, format!("{name} must be {expected}"))),
            },
            (Some(_), Some(_)) => Err(Problem::new(Code::BAD_REQUEST, format!("{name} occurs more than once"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_parameter_that_is_wrong_is_named_and_an_unknown_one_is_ignored() {
        let limit = |query: &str| {
            let uri: Uri = format!("/?{query}").parse().unwrap();
            let found = Parameters::of(&uri).get("limit", "a number", |text| text.parse::<u16>().ok());
            found.map_err(|problem| String::from_utf8(problem.body("r")).unwrap())
        };
        for (query, expected) in
            [("", None), ("limit=1", Some(1)), ("&limit=200&", Some(200)), ("limit=%31&x=1&x=2&_=3", Some(1))]
        {
            assert_eq!(limit(query), Ok(expected), "{query}");
        }
        for query in ["limit=-1", "limit=", "limit", "limit=x"] {
            assert!(limit(query).unwrap_err().contains("limit must be a number"), "{query}");
        }
        assert!(limit("limit=1&limit=1").unwrap_err().contains("limit occurs more than once"));
    }
}
