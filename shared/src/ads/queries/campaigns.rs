//! Campaigns: their terms and their money, and the changes of both.

mod change;
mod create;
mod publish;
mod render;
mod write;
mod zone;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

pub use self::change::change;
pub use self::create::create;
use self::render::{GET, PAGE_OF_ALL, PAGE_OF_NOBODY, PAGE_OF_OWNER, RECORD};
pub use self::zone::{UNKNOWN_ZONE, ZONE, is_zone};
use crate::ads::{CampaignId, Nanos, Status};
use crate::kafka::Cause;
use crate::runtime::json::Fault;
use crate::store::{Failure, Store, Tx, within_deadline};

/// Whose campaigns a caller sees and changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer<'a> {
    /// Those of everybody.
    All,
    /// Those of this owner; `None` stands for all callers without a token.
    Owner(Option<&'a str>),
}

/// Who changes a campaign, for the record of its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor<'a> {
    /// The subject of the token; `None`: there is none.
    pub subject: Option<&'a str>,
    /// The id of the request.
    pub request_id: Option<&'a str>,
    /// What caused the change, for its event.
    pub cause: &'a Cause,
}

/// A campaign, rendered for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub id: i64,
    /// Grows with every change of its terms.
    pub revision: i64,
    /// The version of its report, which grows with every change of its terms, too.
    pub report_version: i64,
    /// A JSON object.
    pub body: String,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaigns {
    /// Campaigns, by id.
    pub page: Vec<Shown>,
    /// The last id of the page, if there are more after it.
    pub next: Option<i64>,
}

/// Why a campaign was not created or not changed.
#[derive(Debug, Clone)]
pub enum ChangeError {
    /// There is no such campaign, or the caller may not see it.
    NotFound,
    /// Its revision is not one that the caller named.
    Stale,
    /// The terms would be invalid: every fault.
    Faults(Vec<Fault>),
    /// It is over: its terms cannot change any more.
    Ended,
    /// These budgets, one at least, would be less than what is spent and reserved.
    BelowSpend(Vec<BelowSpend>),
    /// PostgreSQL failed.
    Store(Failure),
}

/// A budget that would be less than what is spent and reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BelowSpend {
    /// The member with the budget.
    pub pointer: &'static str,
    /// The least budget that is possible now and that a client can send.
    pub least: Nanos,
}

impl From<BelowSpend> for Fault {
    fn from(BelowSpend { pointer, least }: BelowSpend) -> Self {
        let detail = format!("must be at least {least}, because of what is spent and reserved");
        Self { pointer: pointer.to_owned(), detail }
    }
}

impl From<Failure> for ChangeError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}

impl From<sqlx::Error> for ChangeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl<'a> Viewer<'a> {
    /// Whether it sees all, and otherwise the owner whose campaigns it sees.
    const fn parts(self) -> (bool, Option<&'a str>) {
        match self {
            Self::All => (true, None),
            Self::Owner(owner) => (false, owner),
        }
    }
}

/// The campaign with this id, if the viewer sees it.
pub async fn get(store: &Store, id: CampaignId, viewer: Viewer<'_>) -> Result<Option<Shown>, Failure> {
    let (all, owner) = viewer.parts();
    let query = sqlx::query(GET).bind(id.get()).bind(all).bind(owner);
    let rows = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    Ok(shown_of(&rows)?.pop())
}

/// At most `limit` campaigns that the viewer sees, with greater ids than `after`.
pub async fn list(
    store: &Store,
    viewer: Viewer<'_>,
    after: Option<CampaignId>,
    limit: u16,
    status: Option<Status>,
) -> Result<Campaigns, Failure> {
    let sql = match viewer {
        Viewer::All => PAGE_OF_ALL,
        Viewer::Owner(Some(_)) => PAGE_OF_OWNER,
        Viewer::Owner(None) => PAGE_OF_NOBODY,
    };
    // One more, which shows that there are more.
    let more = i64::from(limit).saturating_add(1);
    let query = sqlx::query(sql).bind(after.map_or(0, CampaignId::get)).bind(status.map(Status::as_str)).bind(more);
    let query = if let Viewer::Owner(Some(owner)) = viewer { query.bind(owner) } else { query };
    let rows = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    let mut page = shown_of(&rows)?;
    let more = page.len() > usize::from(limit);
    page.truncate(limit.into());
    let next = page.last().filter(|_| more).map(|last| last.id);
    Ok(Campaigns { page, next })
}

/// The owner of a campaign, if there is such a campaign. An owner never changes.
pub async fn owner(store: &Store, id: CampaignId) -> Result<Option<Option<String>>, Failure> {
    const SQL: &str = "
        SELECT read_only, id, owner
        FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
        LEFT JOIN campaigns ON id = $1";
    let query = sqlx::query(SQL).bind(id.get());
    let row = within_deadline!(store, |tx| async { Ok(query.fetch_one(tx).await?) })?;
    if row.try_get("read_only")? {
        return Err(Failure::read_only());
    }
    let is_there = row.try_get::<Option<i64>, _>("id")?.is_some();
    let owner = row.try_get("owner")?;
    Ok(is_there.then_some(owner))
}

fn shown_of(rows: &[PgRow]) -> Result<Vec<Shown>, Failure> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        if row.try_get("read_only")? {
            return Err(Failure::read_only());
        }
        let Some(id) = row.try_get("id")? else { continue };
        let (revision, report_version) = (row.try_get("revision")?, row.try_get("report_version")?);
        all.push(Shown { id, revision, report_version, body: row.try_get("body")? });
    }
    Ok(all)
}

/// A campaign in the transaction that has just written it.
async fn read_back(tx: &mut Tx<'_>, id: i64) -> Result<Shown, Failure> {
    let query = sqlx::query(GET).bind(id).bind(true).bind(None::<&str>);
    let rows = query.fetch_all(tx).await?;
    shown_of(&rows)?.pop().ok_or_else(|| Failure::failed("a campaign that was just written is not there"))
}

/// Records the terms and the money after a change.
async fn record(tx: &mut Tx<'_>, id: i64, actor: Actor<'_>) -> Result<(), Failure> {
    let query = sqlx::query(RECORD).bind(id).bind(actor.subject).bind(actor.request_id);
    query.execute(tx).await?;
    Ok(())
}
