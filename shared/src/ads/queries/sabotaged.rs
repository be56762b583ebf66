//! The part of [`sabotage`](crate::ads::sabotage) that needs SQL.

use std::collections::HashMap;

use time::Date;

use crate::ads::AdDelivery;
use crate::ads::sabotage::{Sabotage, makes};
use crate::store::{Failure, Tx};

/// The events of a batch; with [`Sabotage::DayOfApplying`] they are of today.
pub(super) async fn with_days(tx: &mut Tx<'_>, batch: &[&AdDelivery]) -> Result<Vec<AdDelivery>, Failure> {
    let mut moved: Vec<AdDelivery> = batch.iter().map(|delivery| (*delivery).clone()).collect();
    if makes(Sabotage::DayOfApplying) {
        let ids: Vec<i64> = moved.iter().map(|delivery| delivery.event.campaign.get()).collect();
        let query = sqlx::query_as("SELECT id, (now() AT TIME ZONE timezone)::date FROM campaigns WHERE id = ANY($1)");
        let days: HashMap<i64, Date> = query.bind(ids).fetch_all(tx).await?.into_iter().collect();
        for delivery in &mut moved {
            let today = days.get(&delivery.event.campaign.get());
            delivery.event.day = today.copied().unwrap_or(delivery.event.day);
        }
    }
    Ok(moved)
}
