//! The part of [`sabotage`](crate::runtime::sabotage) that needs SQL.

use std::collections::HashMap;

use time::Date;

use crate::ads::AdDelivery;
use crate::runtime::sabotage::makes;
use crate::store::{Failure, Tx};

/// The events of a batch; with [`"day-of-applying"`] they are of today.
pub(super) async fn with_days(tx: &mut Tx<'_>, batch: &[&AdDelivery]) -> Result<Vec<AdDelivery>, Failure> {
    let mut moved: Vec<AdDelivery> = batch.iter().map(|delivery| (*delivery).clone()).collect();
    if makes("day-of-applying") {
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
