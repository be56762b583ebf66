//! The operations of advertising in the OpenAPI document.

mod events;

use crate::http::openapi::Part;

/// The parts of the document.
pub(super) fn parts() -> Vec<Part> {
    events::parts()
}
