//! Which requests and events are logged: `ACCESS_LOG`, read by both services.
//!
//! The API logs a line for each request and each event of a batch, the worker one for each event. If only a share is
//! logged, a hash of the request id decides, and the record contains this id. So every instance of the worker logs the
//! events of exactly those requests that the API logs.

use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64;

use super::trimmed;

/// The access log.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct AccessLogConfig {
    /// Which requests and events (API) and records (worker) are logged, one line each: `all`; `errors`, which are those
    /// with status 400 and up (except what is refused as a rule, such as the impressions of a spent campaign), and
    /// records that were not applied (except repeats, because Kafka delivers at least once); or a share from 0 to 1,
    /// such as `0.01`, of request ids, the same ids in both services. Errors are always logged.
    #[arg(long, env, default_value = "errors", value_parser = trimmed(AccessLog::from_str))]
    pub access_log: AccessLog,
}

/// The threshold for requests and events without an error: one is logged if the 64-bit hash of its request id is below
/// it. Errors are always logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLog(u128);

impl AccessLog {
    /// Log everything.
    pub const ALL: Self = Self(1 << 64);
    /// Log only errors.
    pub const ERRORS: Self = Self(0);

    /// Whether to log the request or event with this request id if it was not an error. The answer is the same in every
    /// process: the hash (XXH3) is specified, and has no seed.
    pub fn takes(self, request_id: &str) -> bool {
        u128::from(xxh3_64(request_id.as_bytes())) < self.0
    }
}

impl FromStr for AccessLog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("all") {
            return Ok(Self::ALL);
        }
        if text.eq_ignore_ascii_case("errors") {
            return Ok(Self::ERRORS);
        }
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        let share = share.ok_or("it must be `all`, `errors`, or a share from 0 to 1, such as `0.01`")?;
        Ok(Self((share * 2_f64.powi(64)) as u128))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    type Cli = crate::runtime::config::Only<AccessLogConfig>;

    fn of(text: &str) -> AccessLog {
        text.parse().unwrap()
    }

    #[test]
    fn errors_alone_unless_it_is_set() {
        assert_eq!(Cli::parse_from(["test"]).settings.access_log, AccessLog::ERRORS);
        assert_eq!(Cli::parse_from(["test", "--access-log=all"]).settings.access_log, AccessLog::ALL);
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("[env: ACCESS_LOG=") && help.contains("[default: errors]"), "{help}");
    }

    #[test]
    fn a_wrong_value_is_told_with_what_would_be_right() {
        for wrong in ["none", "1%", "-0.1", "1.01", "NaN", "inf", "0,5", "a ll"] {
            let said = Cli::try_parse_from(["test", &format!("--access-log={wrong}")]).unwrap_err().to_string();
            let expected = "for '--access-log <ACCESS_LOG>': it must be `all`, `errors`, or a share from 0 to 1";
            assert!(said.contains(expected), "{wrong}: {said}");
        }
    }

    #[test]
    fn all_none_and_the_ends_of_a_share() {
        for (text, takes) in
            [("all", true), ("ALL", true), ("1", true), ("1.0", true), ("errors", false), ("0", false), ("0.0", false)]
        {
            assert!(["", "r-1", "0191f3c4-0000-7000-8000-000000000000"].iter().all(|id| of(text).takes(id) == takes));
        }
    }

    /// Both services, in every version, must choose the same ids.
    #[test]
    fn the_choice_is_fixed() {
        let chosen: Vec<_> = (0..100).map(|n| format!("r-{n}")).filter(|id| of("0.1").takes(id)).collect();
        assert_eq!(chosen, ["r-8", "r-25", "r-33", "r-59", "r-65"]);
    }

    #[test]
    fn a_share_is_that_large_and_a_larger_one_has_the_smaller_one_in_it() {
        // Ids that differ only slightly, like UUIDv7 ids of the same moment.
        let ids: Vec<_> = (0..100_000).map(|n| format!("0191f3c4-7a{n:06x}-7000-8000-00000000")).collect();
        for (share, expected) in [("0.01", 1_000.0), ("0.1", 10_000.0), ("0.5", 50_000.0)] {
            let count = ids.iter().filter(|id| of(share).takes(id)).count();
            // Five standard deviations.
            let room = 5.0 * f64::sqrt(expected);
            let off = (count as f64 - expected).abs();
            assert!(off < room, "{share}: {count}");
        }
        assert!(ids.iter().filter(|id| of("0.01").takes(id)).all(|id| of("0.1").takes(id)));
    }
}
