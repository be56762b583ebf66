//! Parts of SQL that render JSON: the texts of bodies are made in PostgreSQL, so that equal versions have equal bytes.

use std::fmt::Display;

use crate::store::Failure;

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

/// The body of the video `v`. It begins and ends as the cache requires.
macro_rules! video {
    () => {
        concat!(
            r#"'{"version":' || v.version || ',"revision":' || v.revision || ',"readyRevision":' || v.ready_revision
               || ',"id":"' || v.id || '","title":' || to_json(v.title) || ',"durationMs":' || v.duration_ms
               || ',"frameRate":' || coalesce(trim_scale(v.frame_rate * 0.001)::text, 'null')
               || ',"placements":' || v.placements
               || ',"files":{"state":"' || CASE v.ready_revision WHEN v.revision THEN 'ready' ELSE 'processing' END
               || '","revision":' || v.revision || ',"readyRevision":' || v.ready_revision || '},"createdAt":' || "#,
            $crate::placements::queries::json::time!("v.created_at"),
            r#" || ',"updatedAt":' || "#,
            $crate::placements::queries::json::time!("v.updated_at"),
            r#" || '}'"#
        )
    };
}
pub(super) use video;

/// The body of the placement `p`.
macro_rules! placement {
    () => {
        concat!(
            r#"'{"id":"' || p.id || '","videoId":"' || p.video_id || '","productId":' || to_json(p.product_id)
               || ',"campaignId":' || coalesce(p.campaign_id::text, 'null') || ',"startMs":' || p.start_ms
               || ',"endMs":' || p.end_ms || ',"layer":' || p.layer
               || ',"region":' || coalesce(p.region::text, 'null') || ',"label":' || "#,
            $crate::placements::queries::json::nullable!("p.label"),
            r#" || ',"version":' || p.version || ',"createdAt":' || "#,
            $crate::placements::queries::json::time!("p.created_at"),
            r#" || ',"updatedAt":' || "#,
            $crate::placements::queries::json::time!("p.updated_at"),
            r#" || '}'"#
        )
    };
}
pub(super) use placement;

/// The body of the product `p`.
macro_rules! product {
    () => {
        concat!(
            r#"'{"id":' || to_json(p.id) || ',"name":' || to_json(p.name) || ',"active":' || p.active
               || ',"version":' || p.version || ',"createdAt":' || "#,
            $crate::placements::queries::json::time!("p.created_at"),
            r#" || ',"updatedAt":' || "#,
            $crate::placements::queries::json::time!("p.updated_at"),
            r#" || '}'"#
        )
    };
}
pub(super) use product;

/// The member `files` of an answer: whether the files of this revision are ready.
pub(super) fn files(revision: i64, ready_revision: i64) -> String {
    let state = if revision == ready_revision { "ready" } else { "processing" };
    format!(r#""files":{{"state":"{state}","revision":{revision},"readyRevision":{ready_revision}}}"#)
}

/// An object with another member at its end.
pub(super) fn with_member(object: &str, member: &str) -> String {
    format!("{},{member}}}", object.strip_suffix('}').unwrap_or(object))
}

/// A value of a row, which only these services write.
pub(super) fn written<T, E: Display>(value: Result<T, E>) -> Result<T, Failure> {
    value.map_err(|error| Failure::failed(format!("a row has a value that is never written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_its_files_are_ready() {
        let with = |ready| with_member(r#"{"id":"p"}"#, &files(7, ready));
        assert_eq!(with(7), r#"{"id":"p","files":{"state":"ready","revision":7,"readyRevision":7}}"#);
        assert_eq!(with(6), r#"{"id":"p","files":{"state":"processing","revision":7,"readyRevision":6}}"#);
    }
}
