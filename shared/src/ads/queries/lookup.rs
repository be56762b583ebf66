//! What PostgreSQL knows of events that were applied, and of impressions that were accepted while Redis could not tell
//! whether a cap had room.

use std::collections::{HashMap, HashSet};

use time::{Date, OffsetDateTime};

use super::terms_row::campaign_id;
use crate::ads::{AdEventType, CampaignId, Nanos, UserId};
use crate::kafka::ids::EventId;
use crate::store::{Failure, Store, column, within_deadline};

/// An event that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its user.
    pub user: String,
    /// Its type.
    pub event_type: AdEventType,
    /// When it was accepted.
    pub accepted_at: OffsetDateTime,
    /// The campaign's day to which it belongs.
    pub day: Date,
    /// What was billed.
    pub cost: Nanos,
    /// Whether it counts: it is neither void nor invalid.
    pub counts: bool,
    /// Whether it is void: another copy may have room, and counts then.
    pub is_void: bool,
}

/// Those of these events that were applied.
pub async fn stored_events(
    store: &Store,
    events: &[(CampaignId, &EventId)],
) -> Result<HashMap<(CampaignId, String), StoredEvent>, Failure> {
    let (campaigns, ids) = (column!(events, |(campaign, _)| campaign.get()), column!(events, |(_, id)| id.as_str()));
    let query = sqlx::query_as(
        "SELECT e.campaign_id, e.event_id, e.user_id, e.type, e.accepted_at, e.day, e.cost,
                e.outcome = 'counted', e.outcome = 'void'
         FROM unnest($1::bigint[], $2::text[]) AS asked (campaign_id, event_id)
         JOIN ad_events AS e USING (campaign_id, event_id)",
    );
    let query = query.bind(campaigns).bind(ids);
    type Row = (i64, String, String, String, OffsetDateTime, Date, i64, bool, bool);
    let rows: Vec<Row> = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    let stored = rows.into_iter().filter_map(|(campaign, id, user, name, accepted_at, day, cost, counts, is_void)| {
        let event_type = AdEventType::from_name(&name)?;
        let event = StoredEvent { user, event_type, accepted_at, day, cost: Nanos::new(cost), counts, is_void };
        Some(campaign_id(campaign).map(|campaign| ((campaign, id), event)))
    });
    stored.collect()
}

/// Writes the ids of impressions that are about to be accepted although Redis cannot tell how many their users had.
/// Repeating it does no harm.
pub async fn note_unsure(store: &Store, events: &[(CampaignId, &EventId)]) -> Result<(), Failure> {
    let (campaigns, ids) = (column!(events, |(campaign, _)| campaign.get()), column!(events, |(_, id)| id.as_str()));
    let query = sqlx::query(
        "INSERT INTO unsure_impressions (campaign_id, event_id)
         SELECT * FROM unnest($1::bigint[], $2::text[]) ON CONFLICT DO NOTHING",
    );
    let query = query.bind(campaigns).bind(ids);
    within_deadline!(store, |tx| async { Ok(query.execute(tx).await?) }).map(drop)
}

/// Those of these impressions that were noted by [`note_unsure`].
pub async fn taken_unsure(
    store: &Store,
    events: &[(CampaignId, &EventId)],
) -> Result<HashSet<(CampaignId, String)>, Failure> {
    let (campaigns, ids) = (column!(events, |(campaign, _)| campaign.get()), column!(events, |(_, id)| id.as_str()));
    let query = sqlx::query_as(
        "SELECT campaign_id, event_id FROM unnest($1::bigint[], $2::text[]) AS asked (campaign_id, event_id)
         JOIN unsure_impressions USING (campaign_id, event_id)",
    );
    let query = query.bind(campaigns).bind(ids);
    let rows: Vec<(i64, String)> = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    rows.into_iter().map(|(campaign, id)| Ok((campaign_id(campaign)?, id))).collect()
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
