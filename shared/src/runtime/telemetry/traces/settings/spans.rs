//! The numeric settings of span batches and limits. The SDK would read them itself, but without warnings and without an
//! upper bound: a queue of 10^14 spans needs more memory than any machine has.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::runtime::config::SpanConfig;

/// The settings of the export queue, and the limits of a span.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Spans {
    pub(in super::super) schedule_delay: Duration,
    pub(in super::super) queue_size: usize,
    pub(in super::super) batch_size: usize,
    pub(in super::super) export_timeout: Duration,
    pub(in super::super) attributes: u32,
    pub(in super::super) events: u32,
    pub(in super::super) links: u32,
}

/// Up to an hour. With 0 the SDK's thread would loop without a pause.
const MILLIS: RangeInclusive<u64> = 1..=3_600_000;
/// Limited because the SDK allocates the whole queue at its start.
const SIZES: RangeInclusive<u32> = 1..=65_536;
/// The range of other SDKs, which use signed 32-bit integers.
const COUNTS: RangeInclusive<u32> = 0..=2_147_483_647;

/// Reads the settings, with a warning for each wrong one.
pub(super) fn read(config: &SpanConfig, warnings: &mut Vec<String>) -> Spans {
    let mut size = |name, text, default| number(name, text, &SIZES, default, "", warnings);
    let queue_size = size("OTEL_BSP_MAX_QUEUE_SIZE", &config.otel_bsp_max_queue_size, 2_048);
    let mut batch_size = size("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &config.otel_bsp_max_export_batch_size, 512);
    if batch_size > queue_size {
        // If the batch size is the default, lower it without a warning.
        if batch_size != 512 {
            warnings.push(format!(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is more than OTEL_BSP_MAX_QUEUE_SIZE: it counts as {queue_size}"
            ));
        }
        batch_size = queue_size;
    }
    let mut millis =
        |name, text, default| Duration::from_millis(number(name, text, &MILLIS, default, " milliseconds", warnings));
    let schedule_delay = millis("OTEL_BSP_SCHEDULE_DELAY", &config.otel_bsp_schedule_delay, 5_000);
    let export_timeout = millis("OTEL_BSP_EXPORT_TIMEOUT", &config.otel_bsp_export_timeout, 30_000);
    let mut count = |name, text| number(name, text, &COUNTS, 128, "", warnings);
    Spans {
        schedule_delay,
        queue_size: queue_size.try_into().unwrap_or(2_048),
        batch_size: batch_size.try_into().unwrap_or(512),
        export_timeout,
        attributes: count("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", &config.otel_span_attribute_count_limit),
        events: count("OTEL_SPAN_EVENT_COUNT_LIMIT", &config.otel_span_event_count_limit),
        links: count("OTEL_SPAN_LINK_COUNT_LIMIT", &config.otel_span_link_count_limit),
    }
}

/// Parses a number. If it is empty, the default applies; if it is wrong, the default applies with a warning.
pub(super) fn number<N>(
    name: &str,
    text: &str,
    bounds: &RangeInclusive<N>,
    default: N,
    unit: &str,
    warnings: &mut Vec<String>,
) -> N
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    if text.is_empty() {
        return default;
    }
    text.parse().ok().filter(|number| bounds.contains(number)).unwrap_or_else(|| {
        let (least, most) = (bounds.start(), bounds.end());
        warnings.push(format!("{name} is not from {least} to {most}{unit}: it counts as {default}"));
        default
    })
}
