//! What an error of PostgreSQL means for the event that met it: decided here, once.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::untold::untold;

/// What to do with what failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The data itself cannot be stored, ever.
    Poison,
    /// Processing failed on this data; another try may do.
    Failed,
    /// Our own code panicked on this data: a defect; another try may do.
    Panicked,
    /// Two transactions met; the same one again, at once.
    Again,
    /// The database is away or not well; it is not the event's fault.
    Outage,
}

/// An error of the store, with what it means. The text holds no payload and no secret.
#[derive(Debug, Clone)]
pub struct StoreError {
    /// What to do.
    pub class: Class,
    /// For the log and for `dlq.error`.
    pub message: String,
}

impl StoreError {
    pub(super) fn deadline(after: Duration) -> Self {
        Self { class: Class::Outage, message: format!("no answer from PostgreSQL within {after:?}") }
    }

    /// A transaction that did not begin: it has met no event yet, and its connection is in doubt.
    pub(super) fn of_begin(error: sqlx::Error) -> Self {
        Self { class: Class::Outage, ..error.into() }
    }

    /// The code that applied something panicked; the message says where, and no more.
    pub fn panicked(message: String) -> Self {
        Self { class: Class::Panicked, message }
    }

    pub(super) fn again(message: &str) -> Self {
        Self { class: Class::Again, message: message.to_owned() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(error) = &error {
            let code = error.code().unwrap_or_default();
            return Self { class: class(&code), message: format!("SQLSTATE {code}: {}", told(&code, error.message())) };
        }
        // Connection, pool, protocol and our own mistakes: none of them is an event's fault.
        Self { class: Class::Outage, message: error.to_string() }
    }
}

/// The primary message only, because DETAIL quotes rows; and of errors of data (class 22) without
/// what it quotes, which may be a value of the payload.
fn told<'a>(sqlstate: &str, message: &'a str) -> Cow<'a, str> {
    if sqlstate.starts_with("22") { untold(message) } else { message.into() }
}

/// The class of a SQLSTATE. Whatever is not known to be the data's fault is taken for an outage:
/// waiting loses nothing.
fn class(sqlstate: &str) -> Class {
    match sqlstate {
        "40001" | "40P01" => Class::Again,
        _ => match sqlstate.get(..2) {
            Some("21" | "22" | "44" | "54") => Class::Poison,
            Some("23" | "P0") => Class::Failed,
            _ => Class::Outage,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table() {
        let table = [
            (Class::Poison, &["21000", "22003", "22021", "22P02", "22P05", "44000", "54000", "54001"][..]),
            (Class::Failed, &["23502", "23503", "23505", "23514", "P0000", "P0001"][..]),
            (Class::Again, &["40001", "40P01"][..]),
            (
                Class::Outage,
                &[
                    "08006", "25006", "28P01", "3D000", "40003", "42P01", "53100", "53200", "53300", "55P03", "57014",
                    "57P01", "57P03", "58030", "XX000", "F0000", "", "2", "99999",
                ][..],
            ),
        ];
        for (expected, codes) in table {
            for code in codes {
                assert_eq!(class(code), expected, "{code}");
            }
        }
    }

    #[test]
    fn the_value_of_an_error_of_data_is_not_told() {
        assert_eq!(
            told("22P02", "invalid input syntax for type integer: \"x\""),
            "invalid input syntax for type integer: …"
        );
        let named = "new row for relation \"resources\" violates check constraint \"c\"";
        assert_eq!(told("23514", named), named);
    }

    proptest! {
        #[test]
        fn only_the_named_classes_can_reach_the_dead_letter_topic(code in "[0-9A-Z]{5}") {
            let data = ["21", "22", "44", "54", "23", "P0"].contains(&&code[..2]);
            prop_assert_eq!(matches!(class(&code), Class::Poison | Class::Failed), data);
        }
    }
}
