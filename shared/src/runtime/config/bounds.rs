//! Bounds of settings: a value outside its bounds is rejected at the start. A timeout of zero would never succeed, and
//! a server would reject one of a million years later, which would look like an outage.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::TypedValueParser;

use super::as_given::{Trimmed, trimmed};

/// The bounds of timeouts of the API's connections and of requests to Kafka.
pub const CONNECTION_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
/// The bounds of the number of connections to PostgreSQL, whose default limit is 100 in total; each costs it a process.
pub const DATABASE_CONNECTIONS: RangeInclusive<i64> = 1..=1_000;

const HOUR: Duration = Duration::from_secs(3_600);

/// A parser for durations such as `250ms`, `60s` or `30days`, within these bounds.
pub fn duration_in(bounds: RangeInclusive<Duration>) -> Trimmed<impl TypedValueParser<Value = Duration>> {
    trimmed(move |text: &str| within(text, &bounds))
}

fn within(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if bounds.contains(&duration) {
        return Ok(duration);
    }
    let [least, most] = [bounds.start(), bounds.end()].map(|bound| humantime::format_duration(*bound));
    Err(format!("it must be from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_good_and_nothing_beyond_them() {
        let bounds = Duration::from_secs(1)..=HOUR;
        for (text, good) in [("1s", true), ("1h", true), ("2min 3s", true), ("999ms", false), ("1h 1ns", false)] {
            assert_eq!(within(text, &bounds).is_ok(), good, "{text}");
        }
        for text in ["0s", "1000000years"] {
            assert_eq!(within(text, &bounds).unwrap_err(), "it must be from 1s to 1h", "{text}");
        }
        for text in ["soon", "9999999999999years", "1", "-1s"] {
            within(text, &bounds).unwrap_err();
        }
    }
}
