//! `Accept` (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// Whether the client prefers the media type `this` to `usual`: by its quality, then by how exactly it is named. A
/// client that takes neither gets the usual one.
pub(crate) fn prefers(headers: &HeaderMap, this: &str, usual: &str) -> bool {
    let preference_of_this = preference(headers, this);
    preference_of_this.0 > 0.0 && preference_of_this > preference(headers, usual)
}

/// The quality of the most specific range that a media type is in, and how specific that is.
fn preference(headers: &HeaderMap, media_type: &str) -> (f32, u8) {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let specificity = specificity(parts.next()?, media_type)?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((specificity, quality.map_or(Some(1.0), |text| text.parse().ok())?))
    });
    ranges.max_by_key(|(specificity, _)| *specificity).map_or((0.0, 0), |(specificity, quality)| (quality, specificity))
}

fn specificity(range: &str, media_type: &str) -> Option<u8> {
    if range.eq_ignore_ascii_case(media_type) {
        return Some(2);
    }
    match range.strip_suffix("/*")? {
        "*" => Some(0),
        all => media_type.split('/').next().is_some_and(|own| own.eq_ignore_ascii_case(all)).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_preferred_type() {
        let prefers = |accept: &'static str| {
            let headers = [(header::ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            prefers(&headers, "text/csv", "application/json")
        };
        for accept in [
            "text/csv",
            "Text/CSV; charset=utf-8",
            "text/csv, */*",
            "text/*",
            "application/json;q=0.5, text/csv;header=present;q=0.9",
            "*/*;q=0.1,text/csv;q=0.2",
            "application/json;q=0, */*",
        ] {
            assert!(prefers(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/json;q=0.9,text/plain",
            "text/csv, application/json",
            "text/csv;q=0",
            "text/csv;q=nan",
            "text/csv;q=x",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "csv",
        ] {
            assert!(!prefers(accept), "{accept}");
        }
        assert!(!super::prefers(&HeaderMap::new(), "text/csv", "application/json"));
    }
}
