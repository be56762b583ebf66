//! Publishes the change of a campaign.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::UtcOffset;

use crate::ads::queries::terms_row::campaign_id;
use crate::ads::{Terms, published};
use crate::kafka::Cause;
use crate::kafka::ids::EventId;
use crate::kafka::schemas::EventSchema;
use crate::store::outbox::{self, Boundary, Outbound};
use crate::store::{Failure, Tx};

/// Writes the event of a change into the outbox. `written` has the campaign's id, revision and time after it. Whoever
/// changes a campaign has locked its row, and then its boundary here.
pub(super) async fn publish(
    tx: &mut Tx<'_>,
    schema: &'static EventSchema,
    written: &PgRow,
    owner: Option<&str>,
    terms: &Terms,
    cause: &Cause,
) -> Result<(), Failure> {
    let campaign = campaign_id(written.try_get("id")?)?;
    let at: time::OffsetDateTime = written.try_get("updated_at")?;
    let mut boundary = Boundary::lock(tx, &published::aggregate(campaign)).await?;
    let event = Outbound {
        schema,
        aggregate: boundary.aggregate().clone(),
        sequence: boundary.next_number(),
        id: EventId::generate(),
        source: published::SOURCE,
        subject: campaign.to_string(),
        at: at.to_offset(UtcOffset::UTC),
        cause: cause.clone(),
        data: published::data(campaign, owner, written.try_get("revision")?, terms),
    };
    outbox::publish(tx, vec![boundary], &[event]).await
}
