//! How long, how much and how many: what is outside its bounds is refused by name. A time of nothing never succeeds, and
//! one of a million years is refused later, by a server, as if that were an outage.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::TypedValueParser;

use super::as_given::{Trimmed, trimmed};

/// How long what a connection is asked for may take, of the API's own and to Kafka.
pub const CONNECTION_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
/// Connections to PostgreSQL: it has a hundred for everybody by default, and each costs it a process.
pub const DATABASE_CONNECTIONS: RangeInclusive<i64> = 1..=1_000;

const HOUR: Duration = Duration::from_secs(3_600);

/// A span of time as people write it, `250ms`, `60s` or `30days`, from the first to the last of these.
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
