//! How much of a campaign's money a lease gets. Pure.

use crate::ads::Nanos;

/// Which budget has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The day's.
    Day,
    /// The campaign's.
    Total,
}

/// A budget and what is gone of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub limit: i64,
    pub spent: i64,
    pub reserved: i64,
}

/// The part of a day's budget that even pacing has released so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How much of the day has passed, and its length, in milliseconds.
    pub elapsed_ms: i64,
    pub day_ms: i64,
}

/// What a campaign can offer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Money {
    /// The price of one event.
    pub price: i64,
    pub total: Budget,
    pub day: Option<Budget>,
    /// With even pacing.
    pub pace: Option<Pace>,
    /// Until the campaign's day ends.
    pub day_ends_in_s: u32,
}

/// The answer to a request for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Amount(Nanos),
    /// `retry_after`, in seconds: 1 while leases are out that may come back, the next day, or never.
    Exhausted {
        scope: Scope,
        retry_after: Option<u32>,
    },
    Paced {
        retry_after: u32,
    },
}

/// A lease gets at most this part of what is free: near the end it shrinks to one price, so that no instance holds much
/// of what another one needs.
const PART: i64 = 4;
/// Even pacing runs ahead of the clock by this part of the day's budget, or by one price.
const AHEAD: i64 = 288;

impl Budget {
    fn free(self) -> i64 {
        self.limit.saturating_sub(self.spent).saturating_sub(self.reserved)
    }
}

impl Money {
    /// Offers about `wanted`, in whole prices, at least one.
    pub(super) fn offer(&self, wanted: Nanos) -> Offer {
        let price = self.price;
        if price <= 0 {
            return Offer::Amount(Nanos::ZERO);
        }
        let exhausted = |budget: Budget, scope, otherwise| {
            (budget.free() < price).then(|| {
                let may_come_back = budget.limit.saturating_sub(budget.spent) >= price;
                let retry_after = if may_come_back { Some(1) } else { otherwise };
                Offer::Exhausted { scope, retry_after }
            })
        };
        if let Some(offer) = exhausted(self.total, Scope::Total, None) {
            return offer;
        }
        let mut free = self.total.free();
        if let Some(day) = self.day {
            if let Some(offer) = exhausted(day, Scope::Day, Some(self.day_ends_in_s.max(1))) {
                return offer;
            }
            free = free.min(day.free());
            if let Some(pace) = self.pace {
                let released = Budget { limit: pace.released(day.limit, price), ..day };
                if released.free() < price {
                    return Offer::Paced { retry_after: pace.wait_s(day, price).min(self.day_ends_in_s).max(1) };
                }
                free = free.min(released.free());
            }
        }
        let most = (free / PART).max(price);
        let amount = wanted.get().clamp(price, most);
        Offer::Amount(Nanos::new(amount - amount % price))
    }
}

impl Pace {
    fn ahead(budget: i64, price: i64) -> i64 {
        (budget / AHEAD).max(price)
    }

    fn released(self, budget: i64, price: i64) -> i64 {
        let share = i128::from(budget) * i128::from(self.elapsed_ms.max(0)) / i128::from(self.day_ms.max(1));
        i64::try_from(share).unwrap_or(budget).saturating_add(Self::ahead(budget, price)).min(budget)
    }

    /// The seconds until one more price is released.
    fn wait_s(self, day: Budget, price: i64) -> u32 {
        let needed = i128::from(day.spent) + i128::from(day.reserved) + i128::from(price)
            - i128::from(Self::ahead(day.limit, price));
        let at_ms = needed * i128::from(self.day_ms) / i128::from(day.limit.max(1));
        let wait = (at_ms - i128::from(self.elapsed_ms)).max(0) / 1000 + 1;
        u32::try_from(wait).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(price: i64, total: Budget, day: Option<Budget>) -> Money {
        Money { price, total, day, pace: None, day_ends_in_s: 100 }
    }

    fn budget(limit: i64, spent: i64, reserved: i64) -> Budget {
        Budget { limit, spent, reserved }
    }

    #[test]
    fn the_last_unit_is_offered_and_nothing_after_it() {
        let offer = |total| money(10, total, None).offer(Nanos::new(1_000));
        assert_eq!(offer(budget(1_000, 0, 0)), Offer::Amount(Nanos::new(250)));
        assert_eq!(offer(budget(1_000, 900, 75)), Offer::Amount(Nanos::new(10)), "a quarter of 25 is less than one");
        assert_eq!(offer(budget(1_000, 990, 0)), Offer::Amount(Nanos::new(10)));
        let exhausted = |retry_after| Offer::Exhausted { scope: Scope::Total, retry_after };
        assert_eq!(offer(budget(1_000, 980, 20)), exhausted(Some(1)), "a lease may come back");
        assert_eq!(offer(budget(1_000, 991, 0)), exhausted(None), "it is truly spent");
    }

    #[test]
    fn a_day_ends_and_the_next_one_has_room() {
        let offer = |day| money(10, budget(10_000, 0, 0), Some(day)).offer(Nanos::new(50));
        assert_eq!(offer(budget(100, 0, 0)), Offer::Amount(Nanos::new(20)));
        assert_eq!(offer(budget(100, 95, 0)), Offer::Exhausted { scope: Scope::Day, retry_after: Some(100) });
        assert_eq!(offer(budget(100, 50, 45)), Offer::Exhausted { scope: Scope::Day, retry_after: Some(1) });
    }

    #[test]
    fn even_pacing_follows_the_clock() {
        let at = |elapsed_ms, spent| {
            let pace = Some(Pace { elapsed_ms, day_ms: 86_400_000 });
            let day = Some(budget(288_000, spent, 0));
            Money { pace, day_ends_in_s: 80_000, ..money(100, budget(1 << 40, 0, 0), day) }.offer(Nanos::new(1 << 30))
        };
        assert_eq!(at(0, 0), Offer::Amount(Nanos::new(200)), "a quarter of what runs ahead, in whole prices");
        assert_eq!(at(0, 1_000), Offer::Paced { retry_after: 31 });
        assert_eq!(at(43_200_000, 144_000), Offer::Amount(Nanos::new(200)));
        assert_eq!(at(86_400_000, 287_900), Offer::Amount(Nanos::new(100)), "all of it, by the day's end");
    }

    proptest! {
        #[test]
        fn an_offer_fits_everything(
            price in 1_i64..1_000,
            (limit, day_limit) in (0_i64..1 << 40, 0_i64..1 << 40),
            (spent, reserved) in (0_i64..1 << 39, 0_i64..1 << 39),
            (day_spent, day_reserved) in (0_i64..1 << 39, 0_i64..1 << 39),
            elapsed_ms in prop::option::of(0_i64..90_000_000),
            wanted in 0_i64..1 << 41,
        ) {
            let pace = elapsed_ms.map(|elapsed_ms| Pace { elapsed_ms, day_ms: 86_400_000 });
            let (total, day) = (budget(limit, spent, reserved), budget(day_limit, day_spent, day_reserved));
            let money = Money { price, total, day: Some(day), pace, day_ends_in_s: 7 };
            match money.offer(Nanos::new(wanted)) {
                Offer::Amount(amount) => {
                    let amount = amount.get();
                    prop_assert!(amount >= price && amount % price == 0);
                    prop_assert!(amount <= total.free() && amount <= day.free());
                    prop_assert!(amount <= wanted.max(price));
                }
                Offer::Exhausted { scope: Scope::Total, .. } => prop_assert!(total.free() < price),
                Offer::Exhausted { scope: Scope::Day, .. } => prop_assert!(day.free() < price),
                Offer::Paced { retry_after } => prop_assert!(pace.is_some() && (1..=7).contains(&retry_after)),
            }
        }
    }
}
