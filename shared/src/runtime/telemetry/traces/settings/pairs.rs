//! List settings: `name=value`, separated by commas, percent-encoded.

use opentelemetry::KeyValue;
use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Parses a list; `None` if any part is wrong, as OpenTelemetry's specification requires.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let decoded = |part: &str| Some(percent_decode_str(part.trim()).decode_utf8().ok()?.into_owned());
    let parsed = entries.map(|entry| {
        let (name, value) = entry.split_once('=')?;
        let name = decoded(name)?;
        (!name.is_empty()).then_some((name, decoded(value)?))
    });
    parsed.collect()
}

/// HTTP headers. Their values are marked as sensitive, so that they are never shown.
pub(super) fn headers(text: &str) -> Option<HeaderMap> {
    let pairs = pairs(text)?.into_iter().map(|(name, value)| {
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name).ok()?, value))
    });
    pairs.collect()
}

/// Attributes of OpenTelemetry's resource, which is this service.
pub(super) fn attributes(text: &str) -> Option<Vec<KeyValue>> {
    Some(pairs(text)?.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect())
}
