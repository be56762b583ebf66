//! The lines of advertising in the file of a history.

use serde::{Deserialize, Serialize};

use super::{
    AdLetter, AdRecord, Ads, AdsEnd, Books, CachedReport, CampaignRow, Change, Created, DayRow, EventRow, FrozenApi,
    InvalidRow, LeaseRow, Patch, Report, Seen, StatRow, Try, UserDay,
};
use crate::history::{Commit, Span};

/// Declares the facts of which there are many, each with the list that holds it.
macro_rules! facts {
    (observed { $($fact:ident($kind:ty) in $list:ident,)* } end { $($end_fact:ident($end_kind:ty) in $end_list:ident,)* }) => {
        #[derive(Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(in crate::history) enum AdFact {
            Began(i64),
            Left { partition: i32, committed: i64, end: i64 },
            $($fact($kind),)*
            $($end_fact($end_kind),)*
        }

        impl AdFact {
            pub(in crate::history) fn all(ads: Ads, end: AdsEnd) -> impl Iterator<Item = Self> {
                let left = end.left.into_iter().map(|(partition, (committed, end))| Self::Left { partition, committed, end });
                std::iter::once(Self::Began(ads.began))
                    .chain(left)
                    $(.chain(ads.$list.into_iter().map(Self::$fact)))*
                    $(.chain(end.$end_list.into_iter().map(Self::$end_fact)))*
            }

            pub(in crate::history) fn put_into(self, ads: &mut Ads, ads_end: &mut AdsEnd) {
                match self {
                    Self::Began(began) => ads.began = began,
                    Self::Left { partition, committed, end } => drop(ads_end.left.insert(partition, (committed, end))),
                    $(Self::$fact(fact) => ads.$list.push(fact),)*
                    $(Self::$end_fact(fact) => ads_end.$end_list.push(fact),)*
                }
            }
        }
    };
}

facts! {
    observed {
        Created(Created) in created,
        Patch(Patch) in patches,
        FrozenApi(FrozenApi) in frozen,
        Evicted(Span) in evicted,
        Books(Books) in books,
        Seen(Seen) in seen,
        Commit(Commit) in commits,
        Try(Try) in tries,
        Report(Report) in reports,
    }
    end {
        Campaign(CampaignRow) in campaigns,
        Change(Change) in changes,
        Day(DayRow) in days,
        Lease(LeaseRow) in leases,
        Letter(AdLetter) in letters,
        Cached(CachedReport) in cached,
        Invalid(InvalidRow) in invalid,
        Stat(StatRow) in stats,
        UserDay(UserDay) in user_days,
        Row(EventRow) in events,
        Record(AdRecord) in records,
    }
}
