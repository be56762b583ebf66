//! The model: it decides by looking through all rows, and keeps no sums.

use std::cell::Cell;
use std::collections::BTreeMap;

use shared::ads::{AdDelivery, AdEventType};
use time::{Date, OffsetDateTime};

use super::{Op, lease_id};
use crate::prelude::*;

/// A campaign's terms.
pub(super) struct Terms {
    pub(super) columns: &'static [(&'static str, &'static str)],
    total: i64,
    daily: Option<i64>,
    cap: Option<usize>,
    rules: Rules,
}

/// Its rules; windows in seconds.
#[derive(Clone, Copy)]
struct Rules {
    click_requires_impression: bool,
    duplicate_click_window: Option<i64>,
    conversion_window: Option<i64>,
    user_events_per_minute: Option<usize>,
    blocks_bots: bool,
}

const NO_RULES: Rules = Rules {
    click_requires_impression: false,
    duplicate_click_window: None,
    conversion_window: None,
    user_events_per_minute: None,
    blocks_bots: false,
};

pub(super) const CAMPAIGNS: [Terms; 3] = [
    Terms {
        columns: &[("total_budget", "200000000"), ("daily_budget", "120000000"), ("cap", "2")],
        total: 20,
        daily: Some(12),
        cap: Some(2),
        rules: NO_RULES,
    },
    Terms {
        columns: &[
            ("total_budget", "400000000"),
            ("click_requires_impression", "true"),
            ("duplicate_click_window", "6"),
            ("conversion_window", "12"),
            ("blocked_user_agents", "'{nothing,bOT}'"),
        ],
        total: 40,
        daily: None,
        cap: None,
        rules: Rules {
            click_requires_impression: true,
            duplicate_click_window: Some(6),
            conversion_window: Some(12),
            blocks_bots: true,
            ..NO_RULES
        },
    },
    Terms {
        columns: &[("total_budget", "150000000"), ("user_events_per_minute", "4")],
        total: 15,
        daily: None,
        cap: None,
        rules: Rules { user_events_per_minute: Some(4), ..NO_RULES },
    },
];

thread_local! {
    static RAISED: Cell<usize> = const { Cell::new(0) };
}

/// How often a void event was raised.
pub(super) fn raised() -> usize {
    RAISED.get()
}

#[derive(Debug, Clone)]
struct Row {
    user: String,
    kind: AdEventType,
    day: Date,
    at: OffsetDateTime,
    cents: i64,
    outcome: &'static str,
    reason: Option<&'static str>,
    offset: i64,
}

impl Row {
    fn counts(&self) -> bool {
        self.outcome == "counted"
    }
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    campaign: i64,
    day: Date,
    amount: i64,
    settled: i64,
}

type Verdict = (&'static str, Option<&'static str>);

pub(super) struct Model {
    totals: BTreeMap<i64, i64>,
    leases: BTreeMap<String, Lease>,
    rows: BTreeMap<(i64, String), Row>,
    /// Every event that was not a repeat: campaign, user, day, and the minute.
    minutes: Vec<(i64, String, Date, i64)>,
}

fn terms(campaign: i64) -> &'static Terms {
    const { &CAMPAIGNS }.get(usize::try_from(campaign - 1).unwrap()).unwrap()
}

impl Model {
    pub(super) fn new() -> Self {
        let totals = (1..).zip(CAMPAIGNS.iter().map(|terms| terms.total)).collect();
        Self { totals, leases: BTreeMap::new(), rows: BTreeMap::new(), minutes: Vec::new() }
    }

    fn of(&self, campaign: i64) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |((of, _), _)| *of == campaign).map(|(_, row)| row)
    }

    fn spent(&self, campaign: i64, day: Option<Date>) -> i64 {
        let counted = self.of(campaign).filter(|row| row.counts() && day.is_none_or(|day| row.day == day));
        counted.map(|row| row.cents).sum()
    }

    fn reserved(&self, campaign: i64, day: Option<Date>) -> i64 {
        let open = self.leases.values().filter(|it| it.campaign == campaign && day.is_none_or(|day| it.day == day));
        open.map(|lease| lease.amount - lease.settled).sum()
    }

    fn has_room(&self, campaign: i64, day: Date, cents: i64) -> bool {
        let free = |limit: i64, day| limit - self.spent(campaign, day) - self.reserved(campaign, day);
        let day_has = terms(campaign).daily.is_none_or(|daily| free(daily, Some(day)) >= cents);
        free(self.totals[&campaign], None) >= cents && day_has
    }

    /// Changes the money; `false` if nobody would do this. `leases` is the number of leases so far.
    pub(super) fn change(&mut self, op: &Op, leases: usize) -> bool {
        let number = |campaign: &usize| i64::try_from(*campaign).unwrap() + 1;
        match op {
            Op::Raise { campaign, cents } => *self.totals.get_mut(&number(campaign)).unwrap() += cents,
            Op::Lease { campaign, is_tomorrow, cents } => {
                let day = if *is_tomorrow { DAY.next_day().unwrap() } else { DAY };
                if !self.has_room(number(campaign), day, *cents) {
                    return false;
                }
                let lease = Lease { campaign: number(campaign), day, amount: *cents, settled: 0 };
                self.leases.insert(lease_id(leases), lease);
            }
            Op::GiveBack { lease, cents } => {
                let id = lease_id(*lease);
                if let Some(lease) = self.leases.get_mut(&id)
                    && lease.amount - lease.settled >= *cents
                {
                    lease.amount -= cents;
                    if lease.amount == lease.settled {
                        self.leases.remove(&id);
                    }
                }
            }
            Op::Close { lease } => drop(self.leases.remove(&lease_id(*lease))),
            Op::Event(_) | Op::Redeliver { .. } | Op::Retry { .. } => {}
        }
        true
    }

    /// A record is applied.
    pub(super) fn deliver(&mut self, record: &AdDelivery) -> Verdict {
        let key = (record.event.campaign.get(), record.envelope.id.as_str().to_owned());
        let is_raised = match self.rows.get(&key) {
            None => false,
            Some(known) if known.outcome == "void" && known.offset != record.position.offset => true,
            Some(_) => return ("repeated", None),
        };
        let verdict = self.judge(record);
        if is_raised && verdict.0 != "counted" {
            return ("repeated", None);
        }
        RAISED.set(RAISED.get() + usize::from(is_raised));
        let event = &record.event;
        let cents = event.cost.get() / CENT;
        if let Some(id) = &event.lease
            && self.pays(record)
        {
            let lease = self.leases.get_mut(id).unwrap();
            lease.settled += cents;
            if lease.settled == lease.amount {
                self.leases.remove(id);
            }
        }
        let at = record.envelope.accepted_at;
        let user = event.user.as_str().to_owned();
        self.minutes.push((key.0, user.clone(), event.day, at.unix_timestamp() / 60));
        let (outcome, reason) = verdict;
        let row = Row {
            user,
            kind: event.event_type,
            day: event.day,
            at,
            cents: if outcome == "counted" { cents } else { 0 },
            outcome,
            reason,
            offset: record.position.offset,
        };
        self.rows.insert(key, row);
        verdict
    }

    fn pays(&self, record: &AdDelivery) -> bool {
        let event = &record.event;
        let cents = event.cost.get() / CENT;
        let lease = event.lease.as_ref().and_then(|id| self.leases.get(id));
        cents > 0
            && lease.is_some_and(|lease| {
                (lease.campaign, lease.day) == (event.campaign.get(), event.day)
                    && lease.amount - lease.settled >= cents
            })
    }

    fn judge(&self, record: &AdDelivery) -> Verdict {
        let (event, at) = (&record.event, record.envelope.accepted_at);
        let campaign = event.campaign.get();
        let Terms { cap, rules, .. } = terms(campaign);
        let of_user = || self.of(campaign).filter(|row| row.user == event.user.as_str() && row.counts());
        let last = |kinds: &[AdEventType]| of_user().filter(|row| kinds.contains(&row.kind)).map(|row| row.at).max();
        let within = |seconds: i64, kinds: &[AdEventType]| {
            last(kinds).is_some_and(|last| at - last < time::Duration::seconds(seconds))
        };
        let minute = (campaign, event.user.as_str().to_owned(), event.day, at.unix_timestamp() / 60);
        let in_minute = self.minutes.iter().filter(|one| **one == minute).count();
        let (impression, click) = (AdEventType::Impression, AdEventType::Click);
        let invalid = if rules.blocks_bots && event.data.user_agent.is_some() {
            Some("user_agent")
        } else if rules.user_events_per_minute.is_some_and(|most| in_minute >= most) {
            Some("user_rate")
        } else {
            match event.event_type {
                AdEventType::Impression => None,
                AdEventType::Click if rules.click_requires_impression && last(&[impression]).is_none() => {
                    Some("no_impression")
                }
                AdEventType::Click => rules
                    .duplicate_click_window
                    .and_then(|window| within(window, &[click]).then_some("duplicate_click")),
                AdEventType::Conversion => rules
                    .conversion_window
                    .and_then(|window| (!within(window, &[impression, click])).then_some("late_conversion")),
            }
        };
        if invalid.is_some() {
            return ("invalid", invalid);
        }
        let seen = of_user().filter(|row| row.day == event.day && row.kind == impression).count();
        if event.event_type == impression && cap.is_some_and(|cap| seen >= cap) {
            return ("void", Some("capped"));
        }
        let cents = event.cost.get() / CENT;
        if cents == 0 || self.pays(record) || self.has_room(campaign, event.day, cents) {
            ("counted", None)
        } else {
            ("void", Some("no_room"))
        }
    }

    pub(super) fn books(&self) -> Books {
        let mut books = Books::default();
        for campaign in 1..=i64::try_from(CAMPAIGNS.len()).unwrap() {
            books.campaigns.insert(campaign, self.sums(campaign, None));
            for day in [DAY, DAY.next_day().unwrap()] {
                let sums = self.sums(campaign, Some(day));
                if sums != Sums::default() {
                    books.days.insert((campaign, day), sums);
                }
            }
            for reason in self.of(campaign).filter(|row| row.outcome == "invalid").filter_map(|row| row.reason) {
                *books.invalid.entry((campaign, reason.to_owned())).or_default() += 1;
            }
        }
        for (id, lease) in &self.leases {
            books.leases.insert(id.clone(), (lease.amount, lease.settled));
        }
        for ((campaign, id), row) in &self.rows {
            let reason = row.reason.unwrap_or_default().to_owned();
            books.rows.insert((*campaign, id.clone()), (row.outcome.to_owned(), reason, row.day, row.cents));
        }
        books
    }

    fn sums(&self, campaign: i64, day: Option<Date>) -> Sums {
        let rows = || self.of(campaign).filter(|row| day.is_none_or(|day| row.day == day));
        let counted = |kind| count(rows().filter(|row| row.counts() && row.kind == kind));
        let users: std::collections::BTreeSet<_> = rows().filter(|row| row.counts()).map(|row| &row.user).collect();
        Sums {
            spent: self.spent(campaign, day),
            reserved: self.reserved(campaign, day),
            impressions: counted(AdEventType::Impression),
            clicks: counted(AdEventType::Click),
            conversions: counted(AdEventType::Conversion),
            users: count(users.into_iter()),
            void: count(rows().filter(|row| row.outcome == "void")),
        }
    }
}

fn count(all: impl Iterator) -> i64 {
    i64::try_from(all.count()).unwrap()
}

/// The sums of a campaign or of one of its days, in cents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    spent: i64,
    reserved: i64,
    impressions: i64,
    clicks: i64,
    conversions: i64,
    users: i64,
    void: i64,
}

/// Everything that the tables say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    campaigns: BTreeMap<i64, Sums>,
    days: BTreeMap<(i64, Date), Sums>,
    /// The amount of each open lease, and what its events have used.
    leases: BTreeMap<String, (i64, i64)>,
    invalid: BTreeMap<(i64, String), i64>,
    /// Outcome, reason, day and cost of each event.
    rows: BTreeMap<(i64, String), (String, String, Date, i64)>,
}

impl Books {
    pub(super) async fn of(kit: &Kit) -> Self {
        const CAMPAIGNS: &str = "
            SELECT id, spent / $1 AS spent, reserved / $1 AS reserved, impressions, clicks, conversions, users, void
            FROM campaigns";
        const DAYS: &str = "
            SELECT campaign_id, day, spent / $1 AS spent, reserved / $1 AS reserved,
                   coalesce(impressions, 0)::bigint AS impressions, coalesce(clicks, 0)::bigint AS clicks,
                   coalesce(conversions, 0)::bigint AS conversions, coalesce(users, 0)::bigint AS users,
                   coalesce(void, 0)::bigint AS void
            FROM campaign_days LEFT JOIN (
              SELECT campaign_id, day, sum(impressions) AS impressions, sum(clicks) AS clicks,
                     sum(conversions) AS conversions, sum(users) AS users, sum(void) AS void
              FROM ad_stats GROUP BY campaign_id, day
            ) AS hours USING (campaign_id, day)";
        const LEASES: &str = "SELECT id, amount / $1, settled / $1 FROM ad_leases";
        const INVALID: &str = "SELECT campaign_id, reason, events FROM ad_invalid WHERE $1 > 0";
        const ROWS: &str = "
            SELECT campaign_id, event_id, outcome, coalesce(reason, ''), day, cost / $1 FROM ad_events";
        type Row = (i64, String, String, String, Date, i64);
        type OfCampaign = (i64, i64, i64, i64, i64, i64, i64, i64);
        type OfDay = (i64, Date, i64, i64, i64, i64, i64, i64, i64);

        let pool = &kit.pool;
        let campaigns: Vec<OfCampaign> = sqlx::query_as(CAMPAIGNS).bind(CENT).fetch_all(pool).await.unwrap();
        let days: Vec<OfDay> = sqlx::query_as(DAYS).bind(CENT).fetch_all(pool).await.unwrap();
        let leases: Vec<(String, i64, i64)> = sqlx::query_as(LEASES).bind(CENT).fetch_all(pool).await.unwrap();
        let invalid: Vec<(i64, String, i64)> = sqlx::query_as(INVALID).bind(CENT).fetch_all(pool).await.unwrap();
        let rows: Vec<Row> = sqlx::query_as(ROWS).bind(CENT).fetch_all(pool).await.unwrap();
        let sums = |[spent, reserved, impressions, clicks, conversions, users, void]: [i64; 7]| Sums {
            spent,
            reserved,
            impressions,
            clicks,
            conversions,
            users,
            void,
        };
        let campaign = |(id, a, b, c, d, e, f, g): OfCampaign| (id, sums([a, b, c, d, e, f, g]));
        let day = |(id, day, a, b, c, d, e, f, g): OfDay| ((id, day), sums([a, b, c, d, e, f, g]));
        let row = |(campaign, id, outcome, reason, day, cents)| ((campaign, id), (outcome, reason, day, cents));
        Self {
            campaigns: campaigns.into_iter().map(campaign).collect(),
            days: days.into_iter().map(day).filter(|(_, sums)| *sums != Sums::default()).collect(),
            leases: leases.into_iter().map(|(id, amount, settled)| (id, (amount, settled))).collect(),
            invalid: invalid.into_iter().map(|(campaign, reason, events)| ((campaign, reason), events)).collect(),
            rows: rows.into_iter().map(row).collect(),
        }
    }
}
