//! Classifies Redis errors by what the server can still be used for.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Redis 7's error text if a script's user may not run one of its commands.
const NOT_BY_SCRIPT: &str = "user executing the script can't run this command";

/// What a server can still be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything: the error is about this one command.
    Well,
    /// Other commands: there is no memory for this one, or the user lacks the permission.
    Command,
    /// Reads: it cannot save to disk, or has too few replicas.
    Writes,
    /// Nothing: it is a replica, which may lag behind its primary.
    Replica,
    /// Nothing.
    Away,
}

/// Classifies an error. An unknown error counts as `Away`, which is safe: reads then come from PostgreSQL.
pub(super) fn classify(error: &RedisError) -> Verdict {
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::NoScript | ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain,
        ) => Verdict::Well,
        _ => match error.code() {
            // The key is not a string.
            Some("WRONGTYPE") => Verdict::Well,
            Some("OOM" | "NOPERM") => Verdict::Command,
            // The error of a script that may not call a command has no code of its own.
            Some("ERR") if error.detail().is_some_and(|text| text.contains(NOT_BY_SCRIPT)) => Verdict::Command,
            Some("MISCONF" | "NOREPLICAS") => Verdict::Writes,
            // Only a replica sends these. MASTERDOWN: its link to its primary is down, and it is configured not to
            // serve stale data; then it also refuses scripts that only read.
            Some("READONLY" | "MASTERDOWN") => Verdict::Replica,
            _ => Verdict::Away,
        },
    }
}

const REFUSALS: &str = "redis_refusals_total";
/// The values of its label `code`, in addition to `other`.
const KNOWN: [&str; 6] = ["MASTERDOWN", "MISCONF", "NOPERM", "NOREPLICAS", "OOM", "READONLY"];

/// Describes the metric of refusals, and initialises it to 0.
pub(super) fn describe() {
    metrics::describe_counter!(REFUSALS, "Commands that Redis refused, by the code of its error.");
    for code in KNOWN {
        metrics::counter!(REFUSALS, "code" => code).increment(0);
    }
}

pub(super) fn count(error: &RedisError) {
    metrics::counter!(REFUSALS, "code" => label(error)).increment(1);
}

/// An error's code as a label: the number of values is limited, whatever a server answers.
fn label(error: &RedisError) -> &'static str {
    if error.code() == Some("ERR") && classify(error) == Verdict::Command {
        return "NOPERM";
    }
    KNOWN.into_iter().find(|known| error.code() == Some(known)).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's error for an error line of the server.
    fn error(line: &str) -> RedisError {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap() {
            redis::Value::ServerError(error) => error.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_table() {
        for (line, expected) in [
            ("NOSCRIPT No matching script.", Verdict::Well),
            ("MOVED 3999 127.0.0.1:6381", Verdict::Well),
            ("ASK 3999 127.0.0.1:6381", Verdict::Well),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Verdict::Well),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", Verdict::Well),
            ("OOM command not allowed when used memory > 'maxmemory'.", Verdict::Command),
            ("MISCONF Redis is configured to save RDB snapshots", Verdict::Writes),
            ("NOREPLICAS Not enough good replicas to write.", Verdict::Writes),
            ("NOPERM User x has no permissions to run the 'evalsha' command", Verdict::Command),
            ("ERR The user executing the script can't run this command or subcommand script: 1", Verdict::Command),
            ("ERR unknown command 'EVALSHA'", Verdict::Away),
            ("READONLY You can't write against a read only replica.", Verdict::Replica),
            ("LOADING Redis is loading the dataset in memory", Verdict::Away),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Verdict::Replica),
            ("CLUSTERDOWN The cluster is down", Verdict::Away),
            ("NOAUTH Authentication required.", Verdict::Away),
            ("WRONGPASS invalid username-password pair", Verdict::Away),
            ("ERR max number of clients reached", Verdict::Away),
            ("BUSY Redis is busy running a script.", Verdict::Away),
        ] {
            assert_eq!(classify(&error(line)), expected, "{line}");
        }
        assert_eq!(label(&error("NOPERM x")), "NOPERM");
        assert_eq!(label(&error("ANYTHING x")), "other");
    }
}
