//! Lists the resources of all devices, in the order of the bytes of their identifiers.

use sqlx::Row as _;

use crate::store::{Failure, Store, Tx, within_deadline};

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Resources as JSON objects, without their payloads.
    pub items: Vec<String>,
    /// The last identifier of the page, if there are more after it.
    pub next: Option<String>,
}

/// The comparisons have the collation of the index `resources_listed`, and are conditions on it. As for a resource,
/// there is always a row, which says whether the server accepts writes.
const SQL: &str = r#"SELECT read_only, id,
        '{"id":' || to_json(id) || ',"version":' || version
        || ',"accepted_at":"' || to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","updated_at":"' || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}' AS body
    FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
    LEFT JOIN (
      SELECT id, version, accepted_at, updated_at FROM resources
      WHERE id COLLATE "C" >= $1 AND id COLLATE "C" < $2 AND id COLLATE "C" > $3
      ORDER BY id COLLATE "C" LIMIT $4) AS page ON true
    ORDER BY id COLLATE "C""#;

/// At most `limit` resources whose identifiers begin with `prefix` and come after `after`.
pub async fn list(store: &Store, prefix: &str, after: &str, limit: u16) -> Result<Listing, Failure> {
    within_deadline!(store, |session| page(session, prefix, after, limit))
}

async fn page(session: &mut Tx<'_>, prefix: &str, after: &str, limit: u16) -> Result<Listing, Failure> {
    let limit = usize::from(limit);
    let rows = sqlx::query(SQL)
        .bind(prefix)
        .bind(end_of(prefix))
        .bind(after)
        // One more, which shows that there are more.
        .bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_all(session)
        .await?;
    let mut listing = Listing { items: Vec::with_capacity(rows.len()), next: None };
    let mut last = None;
    for row in &rows {
        if row.try_get("read_only")? {
            return Err(Failure::read_only());
        }
        let Some(id) = row.try_get::<Option<String>, _>("id")? else { continue };
        if listing.items.len() == limit {
            listing.next = last;
            break;
        }
        listing.items.push(row.try_get("body")?);
        last = Some(id);
    }
    Ok(listing)
}

/// The first text after all that begin with `prefix`. In UTF-8 the order of bytes is that of characters.
fn end_of(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return end;
        }
    }
    // No identifier begins with the last character of Unicode.
    char::MAX.to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::end_of;

    proptest! {
        #[test]
        fn what_begins_with_a_prefix_is_between_it_and_its_end(prefix in "[ -~]{0,3}", id in "[ -~]{1,5}", rest in "[ -~]{0,3}") {
            for id in [&id, &format!("{prefix}{rest}x")] {
                let end = end_of(&prefix);
                prop_assert_eq!(prefix <= *id && *id < end, id.starts_with(&prefix), "{:?} {:?}", prefix, id);
            }
        }
    }

    #[test]
    fn the_end_of_every_text() {
        for (prefix, end) in [("", "\u{10FFFF}"), ("a", "b"), ("a~", "a\u{7f}"), ("a\u{D7FF}", "a\u{E000}")] {
            assert_eq!(end_of(prefix), end);
        }
        assert_eq!(end_of("a\u{10FFFF}"), "b");
    }
}
