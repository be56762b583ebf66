//! Time zones: PostgreSQL knows them, and it computes the days of campaigns.

use crate::runtime::json::Fault;
use crate::store::{Failure, Store, Tx, within_deadline};

/// The member with the time zone.
pub const ZONE: &str = "/timezone";
/// The fault of a time zone that PostgreSQL does not know.
pub const UNKNOWN_ZONE: &str = "is not a time zone that is known here";

/// Only names of the IANA database. (`AT TIME ZONE` alone takes abbreviations and POSIX specifications, too, whose
/// offset never changes.) The list of names is read from files, so the usual one is not looked for. PostgreSQL lists
/// every file there: what a system adds (its own zone, and copies of all zones under `posix` and `right`, the second ones
/// with leap seconds), and `Factory`, which IANA has for machines whose zone is not set.
const IS_KNOWN: &str = "
SELECT CASE WHEN $1 = 'UTC' THEN true
            WHEN $1 ~ '^(posix|right)/' OR $1 IN ('localtime', 'posixrules', 'Factory') THEN false
            ELSE EXISTS (SELECT FROM pg_timezone_names WHERE name = $1) END";

/// Whether a time zone is known.
pub async fn is_zone(store: &Store, name: &str) -> Result<bool, Failure> {
    within_deadline!(store, |tx| is_known(tx, name))
}

/// The fault of a time zone, if it has one.
pub(super) async fn fault(tx: &mut Tx<'_>, name: &str) -> Result<Option<Fault>, Failure> {
    let is_known = is_known(tx, name).await?;
    Ok((!is_known).then(|| Fault { pointer: ZONE.to_owned(), detail: UNKNOWN_ZONE.to_owned() }))
}

async fn is_known(tx: &mut Tx<'_>, name: &str) -> Result<bool, Failure> {
    Ok(sqlx::query_scalar(IS_KNOWN).bind(name).fetch_one(tx).await?)
}
