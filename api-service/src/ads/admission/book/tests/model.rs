//! Whatever happens in whatever order, the money of each lease is in one place.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Time passes.
    Wait(u64),
    /// An event of a campaign.
    Take(i64, AdEventType),
    /// One of the units that are out comes back.
    Give(usize),
    /// The outcome of one is unknown.
    Lose(usize),
    /// PostgreSQL answers for a campaign, after a while.
    Grant {
        campaign: i64,
        amount: i64,
        usable: u64,
        late: u64,
        price: usize,
        state: State,
    },
    Refuse(i64),
    Delete(i64),
    Revise(i64, i64),
    Ask,
    Return,
}

fn step() -> impl Strategy<Value = Step> {
    let event_type = prop_oneof![Just(Impression), Just(Click), Just(Conversion)];
    let state =
        prop_oneof![8 => Just(State::Running), 1 => Just(State::Paused), 1 => Just(State::Scheduled { in_s: 1 })];
    let grant = (0_i64..120, 0_u64..8_000, 0_u64..3_000, 0_usize..3, state);
    prop_oneof![
        2 => (0_u64..2_500).prop_map(Step::Wait),
        8 => (1_i64..3, event_type).prop_map(|(campaign, event_type)| Step::Take(campaign, event_type)),
        3 => any::<usize>().prop_map(Step::Give),
        1 => any::<usize>().prop_map(Step::Lose),
        4 => (1_i64..3, grant).prop_map(|(campaign, (amount, usable, late, price, state))| {
            Step::Grant { campaign, amount, usable, late, price, state }
        }),
        1 => (1_i64..3).prop_map(Step::Refuse),
        1 => (1_i64..3).prop_map(Step::Delete),
        1 => (1_i64..3, 0_i64..9).prop_map(|(campaign, revision)| Step::Revise(campaign, revision)),
        2 => Just(Step::Ask),
        2 => Just(Step::Return),
    ]
}

/// What became of a lease's money.
#[derive(Debug, Default)]
struct Money {
    granted: i64,
    usable_until: Option<Instant>,
    /// Taken, and not given.
    out: i64,
    lost: i64,
    returned: i64,
}

proptest! {
    #[test]
    fn the_money_of_each_lease_is_in_one_place(steps in proptest::collection::vec(step(), 1..200)) {
        let (book, mut now) = (Book::default(), Instant::now());
        let mut leases: HashMap<String, Money> = HashMap::new();
        let mut out: Vec<Unit> = Vec::new();
        let note_returns = |leases: &mut HashMap<String, Money>| {
            let mut seen = Vec::new();
            for (lease, amount) in book.returns() {
                assert!(!seen.contains(&lease) && amount > Nanos::ZERO, "a lease comes once, with some money");
                leases.get_mut(&lease).unwrap().returned += amount.get();
                seen.push(lease);
            }
        };
        for step in steps {
            match step {
                Step::Wait(millis) => now += super::millis(millis),
                Step::Take(id, event_type) => {
                    let Taken::Ticket(ticket) = book.take(campaign(id), event_type, true, now) else { continue };
                    prop_assert!(now < ticket.until);
                    prop_assert_eq!(ticket.unit.is_some(), ticket.cost > Nanos::ZERO);
                    if let Some(unit) = ticket.unit {
                        prop_assert_eq!((unit.campaign, unit.amount), (campaign(id), ticket.cost));
                        let money = leases.get_mut(unit.lease()).unwrap();
                        money.out += unit.amount.get();
                        prop_assert_eq!(money.usable_until, Some(ticket.until));
                        out.push(unit);
                    }
                }
                Step::Give(at) if !out.is_empty() => {
                    let unit = out.swap_remove(at % out.len());
                    leases.get_mut(unit.lease()).unwrap().out -= unit.amount.get();
                    book.give(unit, now);
                }
                Step::Lose(at) if !out.is_empty() => {
                    let unit = out.swap_remove(at % out.len());
                    let money = leases.get_mut(unit.lease()).unwrap();
                    (money.out, money.lost) = (money.out - unit.amount.get(), money.lost + unit.amount.get());
                }
                Step::Give(_) | Step::Lose(_) => {}
                Step::Grant { campaign: id, amount, usable, late, price, state } => {
                    let mut costs = [Nanos::ZERO; 3];
                    costs[price] = Nanos::new(10);
                    let facts = Facts { costs, state, usable_for: millis(usable), revision: 4, ..facts() };
                    let name = leases.len().to_string();
                    let room = if state == State::Running && amount > 0 { lease(&name, amount) } else { Room::NotAsked };
                    if matches!(room, Room::Lease(_)) {
                        let usable_until = Some(now + millis(usable));
                        leases.insert(name, Money { granted: amount, usable_until, ..Money::default() });
                    }
                    let asked_at = now;
                    now += millis(late);
                    book.granted(campaign(id), Some(Granted { facts, room }), asked_at, now);
                }
                Step::Refuse(id) => {
                    let granted = Granted { facts: facts(), room: NO_ROOM };
                    book.granted(campaign(id), Some(granted), now, now);
                }
                Step::Delete(id) => book.granted(campaign(id), None, now, now),
                Step::Revise(id, revision) => book.revised(campaign(id), Some(revision).filter(|revision| *revision > 0)),
                Step::Ask => {
                    for want in book.wants(now) {
                        prop_assert!(want.amount >= Nanos::ZERO);
                    }
                }
                Step::Return => note_returns(&mut leases),
            }
            for (lease, money) in &leases {
                let used = money.out + money.lost + money.returned;
                prop_assert!((0..=money.granted).contains(&used), "{lease}: {money:?}");
            }
        }
        // At the end all units that are known not to be sent come back.
        book.close();
        for unit in out {
            leases.get_mut(unit.lease()).unwrap().out -= unit.amount.get();
            book.give(unit, now);
        }
        note_returns(&mut leases);
        for (lease, money) in leases {
            prop_assert_eq!(money.returned + money.lost, money.granted, "{}", lease);
        }
    }
}
