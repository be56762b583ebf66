//! The operations of advertising in the OpenAPI document.

mod campaigns;
mod events;
mod reports;

use crate::http::openapi::Part;

/// The parts of the document.
pub(super) fn parts() -> Vec<Part> {
    let mut parts = events::parts();
    parts.extend([campaigns::part(), reports::part()]);
    parts
}
