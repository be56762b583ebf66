//! Classifies PostgreSQL errors by what they mean for the event, in one place.

use std::borrow::Cow;

use super::failure::{Class, Failure, IS_READ_ONLY};
use crate::runtime::redact::redact;

/// The SQLSTATE of a refused write on a read-only server.
const READ_ONLY: &str = "25006";
const ANSWER: &str = "SQLSTATE ";
/// That of a statement that waited for a lock for as long as `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

impl Failure {
    /// Whether a statement waited for a lock in vain: then PostgreSQL ends its transaction, and nothing was done.
    pub fn is_lock_timeout(&self) -> bool {
        self.reason.strip_prefix(ANSWER).is_some_and(|answer| answer.starts_with(LOCK_NOT_AVAILABLE))
    }

    /// Adds the server's address to the reason, unless the reason is an answer of the server.
    pub(super) fn of_server(self, server: &str) -> Self {
        if self.reason.starts_with(ANSWER) {
            return self;
        }
        Self { reason: format!("PostgreSQL at {server}: {}", self.reason), ..self }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(error) = &error {
            let code = error.code().unwrap_or_default();
            let mut reason = format!("{ANSWER}{code}: {}", told(&code, error.message()));
            if code == READ_ONLY {
                reason = format!("{reason}: {IS_READ_ONLY}");
            }
            return Self { class: class(&code), reason };
        }
        // Errors of the connection, the protocol or our own code: one attempt does not show that an event causes them.
        let class = match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Class::Outage,
            _ => Class::OutageMet,
        };
        Self { class, reason: error.to_string() }
    }
}

/// Only the primary message, because DETAIL quotes rows. For data errors (class 22) without the quoted parts, which may
/// be values of the payload.
fn told<'a>(sqlstate: &str, message: &'a str) -> Cow<'a, str> {
    if sqlstate.starts_with("22") { redact(message) } else { message.into() }
}

/// The class of a SQLSTATE. Everything that is not known to be caused by the data counts as an outage: waiting loses
/// nothing. These codes (PostgreSQL's appendix A) usually concern the server, the session, the schema or the
/// permissions; but a trigger, a policy or a bug may cause them for a single record.
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
        assert_eq!(Failure::from(lost()).class, Class::OutageMet);
        assert_eq!(Failure::before_begin(lost()).class, Class::Outage);
        assert_eq!(Failure::from(sqlx::Error::PoolTimedOut).class, Class::Outage);
        assert_eq!(Failure::from(sqlx::Error::Decode("a row".into())).class, Class::OutageMet);
    }

    #[test]
    fn a_handler_says_the_class_of_what_is_not_postgresql() {
        let says = [Failure::poison("a"), Failure::failed("b"), Failure::again("c"), Failure::outage("d")];
        let classes = [Class::Poison, Class::Failed, Class::Again, Class::OutageMet];
        assert_eq!(says.each_ref().map(|failure| failure.class), classes);
        assert_eq!(says.map(|failure| failure.to_string()), ["a", "b", "c", "d"]);
        let of_server = Failure::outage("d").of_server("h:1");
        assert_eq!(of_server.reason, "PostgreSQL at h:1: d");
    }

    #[test]
    fn a_wait_for_a_lock_in_vain_is_known_and_stays_an_outage() {
        let text = "canceling statement due to lock timeout";
        let reason = |sqlstate: &str| format!("{ANSWER}{sqlstate}: {}", told(sqlstate, text));
        let failure = Failure::outage(reason("55P03")).of_server("h:1");
        assert_eq!((failure.is_lock_timeout(), failure.class), (true, class("55P03")));
        for other in [reason("57014"), format!("no answer: {}", reason("55P03")), text.to_owned(), String::new()] {
            assert!(!Failure::outage(other.as_str()).is_lock_timeout(), "{other}");
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
        fn only_the_named_classes_are_the_data_s_fault(code in "[0-9A-Z]{5}") {
            let data = ["21", "22", "44", "54", "23", "P0"].contains(&&code[..2]);
            prop_assert_eq!(matches!(class(&code), Class::Poison | Class::Failed), data);
        }
    }
}
