//! The error codes of videos, placements, products, validations and files.

use axum::http::StatusCode;

use crate::http::problem::Code;

macro_rules! codes {
    ($($code:ident: $status:ident, $name:literal, $title:literal;)*) => {
        $(pub(super) const $code: Code = Code::new(StatusCode::$status, $name, $title);)*

        /// All of them.
        pub(super) const ALL: &[Code] = &[$($code),*];
    };
}

codes! {
    VIDEO_NOT_FOUND: NOT_FOUND, "video_not_found", "There is no such video";
    PLACEMENT_NOT_FOUND: NOT_FOUND, "placement_not_found", "There is no such placement";
    PRODUCT_NOT_FOUND: NOT_FOUND, "product_not_found", "There is no such product";
    VALIDATION_NOT_FOUND: NOT_FOUND, "validation_not_found", "There is no such validation";
    FILE_NOT_READY: NOT_FOUND, "file_not_ready", "The file has not been made yet";
    TOO_MANY_PLACEMENTS: CONFLICT, "too_many_placements", "The video has too many placements";
    INVALID_VIDEO: UNPROCESSABLE_ENTITY, "invalid_video", "The body is not a valid video";
    INVALID_PLACEMENT: UNPROCESSABLE_ENTITY, "invalid_placement", "The body is not a valid placement";
    INVALID_PRODUCT: UNPROCESSABLE_ENTITY, "invalid_product", "The body is not a valid product";
    FILES_UNAVAILABLE: SERVICE_UNAVAILABLE, "files_unavailable", "The files cannot be read now";
    VALIDATION_UNAVAILABLE: SERVICE_UNAVAILABLE, "validation_unavailable", "Nothing can be validated now";
}

pub(super) const INVALID_VALIDATION: Code =
    Code::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_validation", "The body does not say what to validate");
/// Those of the service that validates, beside the others.
pub(super) const OF_VALIDATION: &[Code] = &[INVALID_VALIDATION];
