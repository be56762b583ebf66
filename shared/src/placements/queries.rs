//! The tables of videos and placements in PostgreSQL. Who changes a video, or what belongs to it, locks its boundary
//! first, and its rows then.

pub mod commands;
pub mod files;
mod indexes;
mod json;
pub mod reads;
pub mod subscribers;
pub mod validations;

pub use self::indexes::INDEXES;
pub use self::reads::{load_validations, load_videos};
