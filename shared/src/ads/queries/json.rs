//! Parts of SQL that render JSON: the texts of bodies are made in PostgreSQL, so that equal versions have equal bytes.

/// An amount of money, in nanos: decimal text. The product is exact.
macro_rules! money {
    ($nanos:literal) => {
        concat!(r#"'"' || trim_scale(("#, $nanos, r#") * 0.000000001) || '"'"#)
    };
}
pub(super) use money;

/// A time in UTC, with microseconds, or null.
macro_rules! time {
    ($time:literal) => {
        concat!(
            r#"coalesce('"' || to_char("#,
            $time,
            r#" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"', 'null')"#
        )
    };
}
pub(super) use time;

/// A value that may be null.
macro_rules! nullable {
    ($value:literal) => {
        concat!("coalesce(to_json(", $value, ")::text, 'null')")
    };
}
pub(super) use nullable;
