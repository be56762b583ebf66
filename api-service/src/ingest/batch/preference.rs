//! `Prefer: handling=…` (RFC 7240): what becomes of a batch whose events have different results.

use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use crate::http::prefer::{self, PREFERENCE_APPLIED};
use crate::http::problem::Problem;

/// How a sender prefers its batch to be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handling {
    /// A success, unless the sender has to send an event again: for senders that know only success and failure.
    Lenient,
    /// All or nothing: an invalid event keeps the others from being sent.
    Strict,
}

impl Handling {
    /// The preference of a request. Of a repeated preference the first one counts, and an unknown value is ignored.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        match prefer::value(headers, "handling")?.to_ascii_lowercase().as_str() {
            "lenient" => Some(Self::Lenient),
            "strict" => Some(Self::Strict),
            _ => None,
        }
    }

    const fn applied(self) -> &'static str {
        match self {
            Self::Lenient => "handling=lenient",
            Self::Strict => "handling=strict",
        }
    }
}

/// Says in an answer that the preference was applied.
pub(super) fn applied(handling: Option<Handling>, answer: Result<Response, Problem>) -> Result<Response, Problem> {
    let Some(handling) = handling else { return answer };
    let told = handling.applied();
    answer
        .map(|mut response| {
            response.headers_mut().insert(PREFERENCE_APPLIED, HeaderValue::from_static(told));
            response
        })
        .map_err(|problem| problem.with_header(PREFERENCE_APPLIED, told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::prefer::PREFER;
    use proptest::prelude::*;

    fn of(lines: &[&str]) -> Option<Handling> {
        let headers = lines.iter().map(|line| (PREFER, HeaderValue::from_str(line).unwrap()));
        Handling::of(&headers.collect())
    }

    #[test]
    fn the_preference_is_found_among_others() {
        let (lenient, strict) = (Some(Handling::Lenient), Some(Handling::Strict));
        let table: [(&[&str], Option<Handling>); 16] = [
            (&[], None),
            (&["handling=lenient"], lenient),
            (&["handling=strict"], strict),
            (&["Handling = \"Strict\""], strict),
            (&["respond-async, wait=10;x, handling=lenient;foo=bar"], lenient),
            (&["return=minimal", "handling=strict"], strict),
            (&["handling=strict, handling=lenient"], strict),
            (&["handling=lenient", "handling=strict"], lenient),
            (&["foo=\"a, handling=strict\", handling=lenient"], lenient),
            (&["foo=\"a\\\", handling=strict\", handling=lenient"], lenient),
            (&["foo; bar=\"; handling=strict\""], None),
            (&["handling"], None),
            (&["handling="], None),
            (&["handling=both, handling=strict"], None),
            (&["handlings=strict"], None),
            (&["foo; handling=strict"], None),
        ];
        for (lines, expected) in table {
            assert_eq!(of(lines), expected, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn other_preferences_change_nothing(
            before in prop::collection::vec("[a-g]{1,6}(=([a-z]{1,6}|\"[a-z ,;=]{0,8}\"))?(; ?[a-z]{1,4}=[0-9])?", 0..4),
            behind in "[ -~]{0,20}",
        ) {
            let line = format!("{}handling=strict,{behind}", before.iter().map(|one| format!("{one}, ")).collect::<String>());
            prop_assert_eq!(of(&[&line]), Some(Handling::Strict), "{}", line);
        }
    }
}
