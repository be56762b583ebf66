//! W3C Trace Context: the `traceparent` header.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// `version-trace_id-parent_id-flags`, as version 00 has it.
const LENGTH: usize = 55;
/// More than any later version is given.
const MAX_LENGTH: usize = 128;

/// A `traceparent` as its sender meant it; `None` where it is not valid.
pub fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    // Later versions may append; version ff is forbidden.
    let length = if version == "00" { text.len() == LENGTH } else { (LENGTH..=MAX_LENGTH).contains(&text.len()) };
    if !(length && hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2)) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
    let context = SpanContext::new(trace, parent, flags, true, TraceState::NONE);
    // All zeros are no id.
    context.is_valid().then_some(context)
}

/// A `traceparent` for what comes after this span.
pub fn format(context: &SpanContext) -> String {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags.to_u8())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_rules() {
        assert!(parse(GOOD).unwrap().is_sampled());
        assert!(!parse(&format!("{}0", &GOOD[..54])).unwrap().is_sampled());
        assert!(parse(&format!("01{}-later", &GOOD[2..])).is_some());
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD[..54],
            &format!("{GOOD}-x"),
            &format!("ff{}", &GOOD[2..]),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        assert_eq!(format(&parse(GOOD).unwrap()), GOOD);
        let unknown_flags = format!("{}ff", &GOOD[..53]);
        assert_eq!(format(&parse(&unknown_flags).unwrap()), GOOD, "only the flag that we know is passed on");
    }
}
