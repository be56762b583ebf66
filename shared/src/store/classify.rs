//! What an error of PostgreSQL means for the event that met it: decided here, once.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::session::IS_READ_ONLY;
use crate::runtime::redact::redact;

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
    /// The database is away. No transaction has begun, so it is no event's fault.
    Outage,
    /// An outage, as far as one transaction can tell: PostgreSQL's answer to it, a deadline, or the end of its
    /// connection. Where one record alone meets it, it is the record's own.
    OutageMet,
}

/// An error of the store, with what it means. The text holds no payload and no secret.
#[derive(Debug, Clone)]
pub struct StoreError {
    /// What to do.
    pub class: Class,
    /// For the log and for `dlq.error`.
    pub message: String,
}

/// What a write is refused with by a server that is set to read-only.
const READ_ONLY: &str = "25006";
/// What the text of a server's answer begins with.
const ANSWER: &str = "SQLSTATE ";

impl StoreError {
    /// The same with the server that gave no answer. Where it gave one, that is told as it is.
    pub(super) fn of_server(self, server: &str) -> Self {
        if self.message.starts_with(ANSWER) {
            return self;
        }
        Self { message: format!("PostgreSQL at {server}: {}", self.message), ..self }
    }

    pub(super) fn deadline(after: Duration) -> Self {
        Self { class: Class::OutageMet, message: format!("no answer within {after:?}") }
    }

    /// A server answered that takes no writes any more, and whose answer does not count: its connection is closed.
    pub fn read_only() -> Self {
        Self { class: Class::OutageMet, message: IS_READ_ONLY.to_owned() }
    }

    /// What was asked for was given up.
    pub fn unanswered() -> Self {
        Self { class: Class::Outage, message: "the query was given up".to_owned() }
    }

    /// There is no connection, or no transaction began on it: it has met no event yet.
    pub(super) fn before_begin(error: sqlx::Error) -> Self {
        Self { class: Class::Outage, ..error.into() }
    }

    /// The code that applied something panicked; the message says where, and no more.
    pub fn panicked(message: String) -> Self {
        Self { class: Class::Panicked, message }
    }

    /// It met another transaction: the same again, at once.
    pub fn again(message: &str) -> Self {
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
            let mut message = format!("{ANSWER}{code}: {}", told(&code, error.message()));
            if code == READ_ONLY {
                message = format!("{message}: {IS_READ_ONLY}");
            }
            return Self { class: class(&code), message };
        }
        // Connection, protocol and our own mistakes: none of them is an event's fault, as far as one try can tell.
        let class = match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Class::Outage,
            _ => Class::OutageMet,
        };
        Self { class, message: error.to_string() }
    }
}

/// The primary message only, because DETAIL quotes rows; and of errors of data (class 22) without
/// what it quotes, which may be a value of the payload.
fn told<'a>(sqlstate: &str, message: &'a str) -> Cow<'a, str> {
    if sqlstate.starts_with("22") { redact(message) } else { message.into() }
}

/// The class of a SQLSTATE. Whatever is not known to be the data's fault is taken for an outage: waiting loses
/// nothing. Codes of outages (PostgreSQL's appendix A) are the server's, the session's, the schema's or the rights'
/// own, as a rule; but a trigger, a policy or a defect may answer so for one record alone.
fn class(sqlstate: &str) -> Class {
    match sqlstate {
        "40001" | "40P01" => Class::Again,
        _ => match sqlstate.get(..2) {
            Some("21" | "22" | "44" | "54") => Class::Poison,
            Some("23" | "P0") => Class::Failed,
            _ => Class::OutageMet,
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
                Class::OutageMet,
                &[
                    "08006", "25006", "28P01", "3D000", "40003", "42501", "42P01", "53100", "53200", "53300", "53400",
                    "55P03", "57014", "57P01", "57P02", "57P03", "58030", "XX000", "F0000", "0A000", "26000", "38001",
                    "72000", "99999", "HV000", "P1000", "", "2", "0a000", "0A0000",
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
    fn what_no_transaction_met_is_told_apart() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into());
        assert_eq!(StoreError::from(lost()).class, Class::OutageMet);
        assert_eq!(StoreError::before_begin(lost()).class, Class::Outage);
        assert_eq!(StoreError::from(sqlx::Error::PoolTimedOut).class, Class::Outage);
        assert_eq!(StoreError::from(sqlx::Error::Decode("a row".into())).class, Class::OutageMet);
        assert_eq!(StoreError::deadline(Duration::from_secs(5)).class, Class::OutageMet);
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
        fn only_the_named_classes_are_the_data_s_fault(code in "[0-9A-Z]{5}") {
            let data = ["21", "22", "44", "54", "23", "P0"].contains(&&code[..2]);
            prop_assert_eq!(matches!(class(&code), Class::Poison | Class::Failed), data);
        }
    }
}
