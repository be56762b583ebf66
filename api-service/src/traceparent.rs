//! W3C Trace Context: passed on where it is valid, dropped where it is not.

use axum::http::HeaderMap;

const NAME: &str = "traceparent";
/// `version-trace_id-parent_id-flags`, as version 00 has it.
const LENGTH: usize = 55;

/// The request's `traceparent`, if it has exactly one and that is valid.
pub fn of(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(NAME).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let text = only.to_str().ok()?;
    is_valid(text).then(|| text.to_owned())
}

fn is_valid(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let set = |part: &str| part.bytes().any(|byte| byte != b'0');
    // Later versions may append; version ff is forbidden.
    hex(version, 2)
        && version != "ff"
        && (if version == "00" { text.len() == LENGTH } else { text.len() <= 128 })
        && hex(trace, 32)
        && set(trace)
        && hex(parent, 16)
        && set(parent)
        && hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn the_rules() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_valid(good));
        assert!(is_valid(&format!("01{}-later", &good[2..])));
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &good[..54],
            &format!("{good}-x"),
            &format!("ff{}", &good[2..]),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
