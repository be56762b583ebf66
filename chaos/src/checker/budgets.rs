//! Promise 6: budgets and caps are kept to the unit, and nothing that was accepted is lost. Its parts:
//!
//! | part | what holds |
//! |---|---|
//! | a | the costs of the counted events are what was spent, in campaign, day and statistics, and within every budget; so are the counts of events, users and reasons |
//! | b | what is spent and reserved is within the budget; once all is quiet, nothing is reserved |
//! | c | no user has more counted impressions in a day than the cap allows |
//! | d | each event that was answered 202 is there once, as it was sent, and counts unless a rule refused it; none that was refused is there |
//! | e | no more different impressions of a user in a day were answered 202 than the cap allows |
//! | f | an impression is answered 429 only behind that many others, and never once it was answered 202 |
//! | g | 20 s after all is quiet, a campaign with room for one more takes one more |
//! | h | no report is older than its fence, or than a change of its campaign's terms that was answered 200 |
//!
//! A budget or a cap that was changed is judged by the greatest one of the day.

mod caps;
mod counts;
mod events;
mod fences;
mod money;
mod reports;
mod room;
mod times;

use std::collections::BTreeMap;

use super::{Broken, Found, Judged};
use crate::history::ads::{
    AdLetter, AdRecord, Books, CampaignRow, Change, DayRow, EventRow, InvalidRow, LeaseRow, Patch, Report, Seen,
    StatRow, Terms, Try, UserDay,
};
use crate::history::{End, History};

impl Found {
    /// Returns how the reports were judged.
    pub(super) fn budgets(&mut self, history: &History, end: &End) -> Judged {
        let campaigns = campaigns(history, end);
        for campaign in campaigns.values() {
            self.money(campaign, history);
            self.caps(campaign, history);
            self.events(campaign, history);
            self.room(campaign);
        }
        for created in history.ads.created.iter().filter(|created| matches!(created.status, 200 | 201)) {
            let row = created.campaign.and_then(|id| campaigns.get(&id)).and_then(|campaign| campaign.row);
            let name = row.and_then(|row| row.external_id.as_deref());
            if name != Some(&created.external_id) {
                let (status, id) = (created.status, created.campaign.unwrap_or_default());
                let what = format!("{:?} was answered {status}, and its row has {name:?}", created.external_id);
                self.say_of('a', id, what);
            }
            let first = created.campaign.and_then(|id| campaigns.get(&id)?.changes.first());
            // A fault may change the status in the store itself.
            let asked = |first: &Change| Terms { status: first.terms.status.clone(), ..created.terms.clone() };
            if let Some(first) = first.filter(|first| asked(first) != first.terms) {
                let what = format!("it was made with {:?}, and {:?} were asked for", first.terms, created.terms);
                self.say_of('a', first.campaign, what);
            }
        }
        for (partition, (committed, end)) in &end.ads.left {
            let what = format!("partition {partition} is committed up to {committed} for good, and ends at {end}");
            self.say_of('d', 0, what);
        }
        self.reports(history, end, &campaigns)
    }

    /// Says that a part of promise 6 is broken for a campaign; 0 for none in particular.
    fn say_of(&mut self, part: char, campaign: i64, what: impl Into<String>) {
        let device = if campaign == 0 { String::new() } else { name(campaign) };
        self.broken.push(Broken { promise: 6, part: Some(part), device, what: what.into() });
    }
}

fn name(campaign: i64) -> String {
    format!("campaign {campaign}")
}

/// Everything that is known of one campaign.
#[derive(Default)]
struct Campaign<'a> {
    id: i64,
    row: Option<&'a CampaignRow>,
    /// Ordered by revision.
    changes: Vec<&'a Change>,
    days: Vec<&'a DayRow>,
    leases: Vec<&'a LeaseRow>,
    events: Vec<&'a EventRow>,
    stats: Vec<&'a StatRow>,
    user_days: Vec<&'a UserDay>,
    invalid: Vec<&'a InvalidRow>,
    records: Vec<&'a AdRecord>,
    letters: Vec<&'a AdLetter>,
    /// In the order in which they were sent.
    tries: Vec<&'a Try>,
    patches: Vec<&'a Patch>,
    seen: Vec<&'a Seen>,
    books: Vec<&'a Books>,
    reports: Vec<&'a Report>,
}

impl<'a> Campaign<'a> {
    /// The terms that were in force at some time.
    fn all_terms(&self) -> impl Iterator<Item = &'a Terms> {
        let row = self.row.filter(|_| self.changes.is_empty()).map(|row| &row.terms);
        self.changes.iter().map(|change| &change.terms).chain(row)
    }

    fn ever(&self, is_so: impl Fn(&Terms) -> bool) -> bool {
        self.all_terms().any(is_so)
    }
}

fn campaigns<'a>(history: &'a History, end: &'a End) -> BTreeMap<i64, Campaign<'a>> {
    /// Puts each fact into a list of its campaign.
    macro_rules! sort {
        ($campaigns:ident, $($facts:expr => $list:ident),* $(,)?) => {
            $(for fact in &$facts {
                $campaigns.entry(fact.campaign).or_default().$list.push(fact);
            })*
        };
    }
    let (ads, stored) = (&history.ads, &end.ads);
    let mut campaigns: BTreeMap<i64, Campaign<'a>> = BTreeMap::new();
    sort!(
        campaigns,
        stored.changes => changes,
        stored.days => days,
        stored.leases => leases,
        stored.events => events,
        stored.stats => stats,
        stored.user_days => user_days,
        stored.invalid => invalid,
        stored.records => records,
        ads.tries => tries,
        ads.patches => patches,
        ads.seen => seen,
        ads.books => books,
        ads.reports => reports,
    );
    for row in &stored.campaigns {
        campaigns.entry(row.campaign).or_default().row = Some(row);
    }
    for letter in &stored.letters {
        let campaign = letter.key.split_once(':').and_then(|(id, _)| id.parse().ok()).unwrap_or_default();
        campaigns.entry(campaign).or_default().letters.push(letter);
    }
    for (id, campaign) in &mut campaigns {
        campaign.id = *id;
        campaign.changes.sort_by_key(|change| change.revision);
        campaign.tries.sort_by_key(|one| one.from);
    }
    campaigns
}
