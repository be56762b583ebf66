//! Placements: editors place products into videos, over time ranges. The rules do no I/O; [`queries`] has the SQL.
//!
//! A video and its placements are one aggregate. Each change takes the aggregate's next number, which becomes the
//! video's `revision` if its content changed; and each change publishes an event with that number.

pub mod area;
pub mod events;
pub mod files;
mod ids;
pub mod objects;
mod patch;
mod placement;
pub mod queries;
pub mod received;
#[cfg(test)]
mod samples;
pub mod snapshot;
pub mod validate;
pub mod values;
mod video;

use futures_util::FutureExt as _;

pub use self::area::{Fraction, Range, Region};
pub use self::events::{DomainStream, DomainTopics, PlacementEventType};
pub use self::ids::{PlacementId, ProductId, UuidError, ValidationId, VideoId};
pub use self::patch::{PlacementPatch, VideoPatch};
pub use self::placement::{MAX_ITEMS, MAX_OF_VIDEO, NewPlacement, Placed};
pub use self::video::{NewProduct, NewVideo};
use crate::cache::Kind;

/// The cache kind for videos.
pub static VIDEO: Kind = Kind { prefix: "video:", load: |store, ids| queries::load_videos(store, ids).boxed() };

/// The cache kind for validations.
pub static VALIDATION: Kind =
    Kind { prefix: "validation:", load: |store, ids| queries::load_validations(store, ids).boxed() };
