//! What a video and its placements are at one revision, and what is known of their products and campaigns: read in one
//! statement. Files and findings are functions of it.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{Placed, ProductId, VideoId};

/// A video with its placements at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The video.
    pub video: VideoShot,
    /// Its placements, in any order.
    pub placements: Vec<Placed>,
    /// Whether a product is active; those that are missing here do not exist.
    pub products: BTreeMap<ProductId, bool>,
    /// The campaigns that are known.
    pub campaigns: BTreeMap<i64, CampaignShot>,
    /// When it was read, by PostgreSQL's clock.
    pub now: OffsetDateTime,
}

/// A video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoShot {
    /// Its id.
    pub id: VideoId,
    /// Its title.
    pub title: String,
    /// Its duration, in milliseconds.
    pub duration_ms: i64,
    /// Thousandths of a frame a second, if that is known.
    pub frame_rate: Option<u32>,
    /// The number of the last change of its content.
    pub revision: i64,
    /// The revision whose files are ready; 0: none.
    pub ready_revision: i64,
}

/// What the events of a campaign told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignShot {
    /// Its status.
    pub status: String,
    /// When it ends, if it does.
    pub ends_at: Option<OffsetDateTime>,
}

impl CampaignShot {
    /// Whether it is over at this time. One that ends by its end has no command that would say so.
    pub fn has_ended(&self, now: OffsetDateTime) -> bool {
        self.status == "ended" || self.ends_at.is_some_and(|ends_at| ends_at <= now)
    }
}
