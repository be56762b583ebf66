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
    /// An SQLSTATE that is not known. It counts as an outage, unless one record alone meets it.
    Unknown(Sqlstate),
}

/// The code of an error of PostgreSQL's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sqlstate([u8; 5]);

impl Sqlstate {
    /// This one, if it is of the right length and of the characters that there are in codes.
    pub fn new(code: &str) -> Option<Self> {
        let bytes: [u8; 5] = code.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()).then_some(Self(bytes))
    }
}

impl fmt::Debug for Sqlstate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.escape_ascii().to_string())
    }
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

    /// What was asked for was given up.
    pub fn unanswered() -> Self {
        Self { class: Class::Outage, message: "the query was given up".to_owned() }
    }

    /// A transaction that did not begin: it has met no event yet, and its connection is in doubt.
    pub(super) fn before_begin(error: sqlx::Error) -> Self {
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
/// waiting loses nothing. Those of known outages (PostgreSQL's appendix A) are the server's, the session's, the
/// schema's or the rights' own, whoever meets them.
fn class(sqlstate: &str) -> Class {
    match sqlstate {
        "40001" | "40P01" => Class::Again,
        _ => match sqlstate.get(..2) {
            Some("21" | "22" | "44" | "54") => Class::Poison,
            Some("23" | "P0") => Class::Failed,
            Some("08" | "25" | "28" | "3D" | "40" | "42" | "53" | "55" | "57" | "58" | "F0" | "XX") => Class::Outage,
            _ => Sqlstate::new(sqlstate).map_or(Class::Outage, Class::Unknown),
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
                    "57P01", "57P03", "58030", "XX000", "F0000", "", "2", "0a000", "0A0000",
                ][..],
            ),
        ];
        for code in ["0A000", "26000", "38001", "72000", "99999", "HV000", "P1000"] {
            assert_eq!(class(code), Class::Unknown(Sqlstate::new(code).unwrap()));
            assert_eq!(format!("{:?}", class(code)), format!("Unknown({code})"));
        }
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
            if let Class::Unknown(unknown) = class(&code) {
                prop_assert_eq!(Some(unknown), Sqlstate::new(&code));
            }
        }
    }
}
