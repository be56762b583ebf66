//! Removes quoted parts from messages, because they may be parts of a payload.

use std::borrow::Cow;

/// A message, with `…` instead of everything from its first to its last quotation mark.
pub(crate) fn redact(message: &str) -> Cow<'_, str> {
    match (message.split_once('"'), message.rsplit_once('"')) {
        (Some((before, _)), Some((_, behind))) => format!("{before}…{behind}").into(),
        _ => message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn what_is_quoted_is_not_told() {
        for (message, expected) in [
            (r#"invalid input syntax for type integer: "planted "7f3a""#, "invalid input syntax for type integer: …"),
            (r#"value "7" is out of range"#, "value … is out of range"),
            (r#"an odd " one"#, "an odd … one"),
            ("division by zero", "division by zero"),
        ] {
            assert_eq!(redact(message), expected);
        }
    }
}
