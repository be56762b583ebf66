//! `Prefer` (RFC 7240): what a caller would like, if that is possible.

use axum::http::{HeaderMap, HeaderName};

pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The value of a preference. Of a repeated one the first counts.
pub(crate) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
    let mut preferences = lines.flat_map(|line| split(line, ',')).filter_map(|preference| {
        // Parameters, behind a semicolon, have no meaning here.
        split(preference, ';').next()?.split_once('=')
    });
    let (_, value) = preferences.find(|(given, _)| given.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"'))
}

/// Splits a text at a separator that is not within a quoted string.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let is_text = std::mem::take(&mut escaped);
        match c {
            _ if is_text => {}
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}
