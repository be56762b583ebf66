//! Creates a campaign.

use sqlx::Row as _;

use super::publish::publish;
use super::write::{INSERT, bind};
use super::{Actor, ChangeError, Shown, read_back, record, zone};
use crate::ads::Terms;
use crate::ads::published::CAMPAIGN_CREATED;
use crate::store::{Failure, Store, Tx, Work};

/// Creates the campaign of an owner; `None` stands for all callers without a token. Returns it, and whether it is new:
/// with an `external_id` that the owner has used before, it is the campaign of that time, as it is now.
pub async fn create(
    store: &Store,
    owner: Option<&str>,
    actor: Actor<'_>,
    terms: &Terms,
) -> Result<(Shown, bool), ChangeError> {
    store.transact("", &Creation { owner, actor, terms }).await?
}

struct Creation<'a> {
    owner: Option<&'a str>,
    actor: Actor<'a>,
    terms: &'a Terms,
}

/// Two that create the same campaign take turns: an `INSERT` that fails, or meets a conflict, uses up an id.
const TAKE_TURNS: &str = "SELECT pg_advisory_xact_lock(hashtextextended('campaign:' || $1 || ':' || $2, 0))";
const EXISTING: &str = "SELECT id FROM campaigns WHERE owner IS NOT DISTINCT FROM $1 AND external_id = $2";

impl Work for Creation<'_> {
    type Output = Result<(Shown, bool), ChangeError>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Output, Failure> {
        let Self { owner, actor, terms } = *self;
        if let Some(fault) = zone::fault(tx, &terms.timezone).await? {
            return Ok(Err(ChangeError::Faults(vec![fault])));
        }
        if let Some(external_id) = &terms.external_id {
            sqlx::query(TAKE_TURNS).bind(owner.unwrap_or_default()).bind(external_id).execute(&mut *tx).await?;
            let existing = sqlx::query_scalar(EXISTING).bind(owner).bind(external_id);
            if let Some(id) = existing.fetch_optional(&mut *tx).await? {
                return Ok(Ok((read_back(tx, id).await?, false)));
            }
        }
        let written = bind(sqlx::query(INSERT), terms).bind(owner).fetch_one(&mut *tx).await?;
        let id = written.try_get("id")?;
        record(tx, id, actor).await?;
        publish(tx, &CAMPAIGN_CREATED, &written, owner, terms, actor.cause).await?;
        Ok(Ok((read_back(tx, id).await?, true)))
    }
}
