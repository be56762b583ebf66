//! What is known of events that were applied.

use time::Date;

use crate::ads::{AdEventType, CampaignId, Nanos, UserId};
use crate::kafka::ids::EventId;
use crate::store::{Failure, Store, within_deadline};

/// An event that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedEvent {
    /// Its user.
    pub user: String,
    /// Its type.
    pub event_type: AdEventType,
    /// The campaign's day to which it belongs.
    pub day: Date,
    /// What was billed.
    pub cost: Nanos,
}

/// The event with this id, if it counts.
pub async fn counted(store: &Store, campaign: CampaignId, id: &EventId) -> Result<Option<CountedEvent>, Failure> {
    let query = sqlx::query_as(
        "SELECT user_id, type, day, cost FROM ad_events
         WHERE campaign_id = $1 AND event_id = $2 AND outcome = 'counted'",
    );
    let query = query.bind(campaign.get()).bind(id.as_str());
    let row: Option<(String, String, Date, i64)> =
        within_deadline!(store, |tx| async { Ok(query.fetch_optional(tx).await?) })?;
    Ok(row.and_then(|(user, name, day, cost)| {
        let event_type = AdEventType::from_name(&name)?;
        Some(CountedEvent { user, event_type, day, cost: Nanos::new(cost) })
    }))
}

/// The ids of a user's impressions in a campaign's day. Those that do not count were accepted, too: a cap limits what is
/// accepted. Ids that cannot be read are left out.
pub async fn accepted_impressions(
    store: &Store,
    campaign: CampaignId,
    user: &UserId,
    day: Date,
) -> Result<Vec<EventId>, Failure> {
    let query = sqlx::query_scalar(
        "SELECT event_id FROM ad_events WHERE user_id = $1 AND campaign_id = $2 AND day = $3
         AND type = 'impression'",
    );
    let query = query.bind(user.as_str()).bind(campaign.get()).bind(day);
    let ids: Vec<String> = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}
