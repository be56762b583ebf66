//! Part g: 20 s after all is quiet, a campaign with room for one more takes one more.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Found;
use super::Campaign;
use crate::history::ads::{Books, Try};

impl Found {
    pub(super) fn room(&mut self, campaign: &Campaign<'_>) {
        let mut last: BTreeMap<&str, &Try> = BTreeMap::new();
        for one in campaign.tries.iter().filter(|one| one.probe) {
            last.insert(&one.id, one);
        }
        let Some(books) = campaign.books.iter().find(|books| books.quiet) else { return };
        let mut left = room(books);
        let accepted = || campaign.tries.iter().filter(|one| !one.probe && one.is_accepted());
        let mut paid: BTreeSet<&str> = accepted().filter(|one| one.from < books.at).map(|one| &*one.id).collect();
        for one in accepted().filter(|one| one.from >= books.at) {
            if paid.insert(&one.id) {
                left = left.map(|left| left - books.terms.cost(one.kind));
            }
        }
        for one in last.into_values() {
            let cost = books.terms.cost(one.kind);
            if left.is_some_and(|left| left < cost.max(price_of_one(books))) {
                continue;
            }
            if one.is_accepted() {
                left = left.map(|left| left - cost);
            } else {
                let code = one.code.as_deref().unwrap_or("no answer");
                let what =
                    format!("{left:?} is left, and one {} was answered {} ({code})", one.kind.name(), one.status);
                self.say_of('g', campaign.id, what);
            }
        }
    }
}

/// The price of the event that is billed: even a free impression needs room for it.
fn price_of_one(books: &Books) -> i64 {
    books.terms.cost(books.terms.pricing.billed())
}

/// What a campaign may still spend today; `None` if it takes nothing.
fn room(books: &Books) -> Option<i64> {
    if books.terms.status != "active" {
        return Some(-1);
    }
    let today = books.days.iter().find(|day| day.day == books.today);
    let (budget, spent) = today.map_or((books.terms.daily, 0), |day| (day.budget, day.spent));
    let of_day = budget.map(|budget| budget - spent);
    let total = books.terms.total - books.spent;
    Some(of_day.map_or(total, |of_day| of_day.min(total)))
}
