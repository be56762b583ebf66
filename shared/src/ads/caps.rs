//! Where frequency caps are counted: sets of ids in Redis, one of the impressions of each campaign, user and day.

use clap::value_parser;
use time::Date;

use super::{CampaignId, UserId};
use crate::cache::{IdSets, RedisConfig};
use crate::runtime::config::{Secret, trimmed};

/// Before the names of the sets.
const PREFIX: &str = "ad:cap:";

/// The Redis of the caps.
#[derive(Debug, Clone, clap::Args)]
pub struct CapsConfig {
    /// The Redis that counts impressions for frequency caps, as `REDIS_URL`, which serves if this is not set; the other
    /// settings of Redis are valid for both. Its `maxmemory-policy` must be `noeviction`.
    #[arg(long, env, hide_env_values = true, value_parser = trimmed(value_parser!(Secret)))]
    pub ad_redis_url: Option<Secret>,
}

impl CapsConfig {
    /// Opens the sets; `cache` has the settings of the cache's Redis.
    pub fn open(&self, cache: &RedisConfig) -> anyhow::Result<IdSets> {
        let url = self.ad_redis_url.as_ref().unwrap_or(&cache.url).clone();
        IdSets::open(&RedisConfig { url, ..cache.clone() }, PREFIX)
    }
}

/// The name of the set with the impressions of a campaign that a user had in a day.
pub fn set_name(campaign: CampaignId, user: &UserId, day: Date) -> String {
    format!("{campaign}:{user}:{day}")
}
