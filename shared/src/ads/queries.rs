//! The tables of advertising in PostgreSQL. Who changes the money of a campaign locks the campaign's row first, then its
//! leases and days.

mod apply;
pub mod campaigns;
mod days;
mod erase;
mod expire;
mod incarnations;
mod json;
mod leases;
mod ledger;
mod locked;
mod lookup;
mod offer;
mod report;
#[cfg(feature = "sabotage")]
mod sabotaged;
mod settle;
mod terms_row;

pub use self::apply::{BEGIN, apply};
pub use self::erase::{Erased, erase_user};
pub use self::expire::{expire, expire_unsure};
pub use self::incarnations::{Incarnation, are_unmet, note_incarnation, prove, server_and_term, unproven};
pub use self::leases::{DayBefore, Facts, Granted, Grants, Lease, Room, State, Want, grant, revisions};
pub use self::ledger::{Applied, Outcome, Processed};
pub use self::locked::IfLocked;
pub use self::lookup::{StoredEvent, accepted_impressions, note_unsure, stored_events, taken_unsure};
pub use self::offer::Scope;
pub use self::report::{By, MAX_REPORT_ROWS, Part, Report, load_reports, report};
pub use self::settle::{
    Audit, Closed, OpenLeases, Released, audit, close_leases, expired_leases, give_back, next_campaign, open_leases,
};

use crate::store::Journal;

/// The journal that makes a repeat harmless: a campaign has an event's id once. A record's key is `campaign:user`.
pub const JOURNAL: Journal = Journal {
    table: "ad_events",
    matches: "campaign_id = CASE WHEN asked.key ~ '^[0-9]{1,18}:' THEN split_part(asked.key, ':', 1)::bigint END
              AND event_id = asked.id",
    outcome: "outcome",
};
