//! The paths of the calls.

pub(super) const VIDEOS: &str = "/videos";
pub(super) const VIDEO: &str = "/videos/{id}";
pub(super) const PLACEMENTS_OF_VIDEO: &str = "/videos/{id}/placements";
pub(super) const JSON_OF_VIDEO: &str = "/videos/{id}/files/placements.json";
pub(super) const VTT_OF_VIDEO: &str = "/videos/{id}/files/placements.vtt";
pub(super) const VALIDATIONS_OF_VIDEO: &str = "/videos/{id}/validations";
pub(super) const PLACEMENTS: &str = "/placements";
/// No placement has this id.
pub(super) const CHECK: &str = "/placements/check";
pub(super) const PLACEMENT: &str = "/placements/{id}";
pub(super) const PRODUCTS: &str = "/products";
pub(super) const PRODUCT: &str = "/products/{id}";
/// Of all validations together there is no list.
pub(super) const VALIDATIONS: &str = "/validations";
pub(super) const VALIDATION: &str = "/validations/{id}";
/// Of the service that validates.
pub(super) const VALIDATE: &str = "/validation/validate";
