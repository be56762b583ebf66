//! Leases of campaigns that somebody else has locked.

use shared::ads::Nanos;
use shared::ads::queries::{
    Granted, Grants, IfLocked, Outcome, Room, Want, audit, close_leases, erase_user, give_back, grant,
};
use sqlx::{Postgres, Transaction};

use crate::ads::{Ad, applied, campaign, lease};
use crate::prelude::*;

const CENT: i64 = 10_000_000;

async fn lock(kit: &Kit, locking: &'static str) -> Transaction<'static, Postgres> {
    let mut held = kit.pool.begin().await.unwrap();
    sqlx::query(locking).execute(&mut *held).await.unwrap();
    held
}

#[tokio::test]
async fn who_has_locked_a_campaign_stops_no_other() {
    let kit = Kit::new("ads_locked").await;
    let (locked, other) = (campaign(&kit, &[]).await, campaign(&kit, &[]).await);
    let unknown = "77".parse().unwrap();
    let ask = async |amount: i64, if_locked: IfLocked| {
        let wants = [locked, other, unknown].map(|campaign| Want { campaign, amount: Nanos::new(amount) });
        grant(&kit.store, "test", &wants, if_locked).await.unwrap()
    };
    let mut leases = Vec::new();
    let held = lock(&kit, "SELECT FROM campaigns WHERE id = 1 FOR UPDATE").await;
    // A day without a row needs the lock, too: its row gets the campaign's terms.
    for amount in [0, CENT] {
        let Grants { mut granted, locked: left_out, .. } = ask(amount, IfLocked::Skip).await;
        assert_eq!(left_out, [locked].into());
        let room = granted.remove(&other).unwrap().room;
        assert!(granted.is_empty());
        match room {
            Room::Lease(lease) => leases.push(lease.id),
            room => assert_eq!((room, amount), (Room::NotAsked, 0)),
        }
    }
    // It waits for one that is locked, and says so.
    let wants = [Want { campaign: locked, amount: Nanos::new(CENT) }];
    let waited = grant(&kit.store, "test", &wants, IfLocked::Wait).await.unwrap();
    assert_eq!(waited, Grants { locked: [locked].into(), ..Grants::default() });
    held.rollback().await.unwrap();
    let Grants { mut granted, locked: left_out, .. } = ask(CENT, IfLocked::Skip).await;
    assert!(left_out.is_empty() && granted.len() == 2);
    for campaign in [locked, other] {
        let Room::Lease(lease) = granted.remove(&campaign).unwrap().room else { panic!("there is room") };
        leases.push(lease.id);
    }

    let held = lock(&kit, "SELECT FROM campaigns WHERE id = 1 FOR UPDATE").await;
    assert_eq!(ask(0, IfLocked::Skip).await.granted.len(), 2, "facts alone need no lock");
    let all: Vec<_> = leases.iter().map(|id| (id.clone(), Nanos::new(CENT))).collect();
    let of_locked = leases[1].clone();
    let back = give_back(&kit.store, &all[..2], IfLocked::Skip).await.unwrap();
    assert_eq!((back.closed.leases, back.locked), (1, [(locked, vec![of_locked.clone()])].into()));
    let closed = close_leases(&kit.store, &leases, IfLocked::Skip).await.unwrap();
    assert_eq!((closed.closed.leases, closed.locked), (1, [(locked, vec![of_locked.clone()])].into()));
    let alone = std::slice::from_ref(&all[1]);
    let waited = give_back(&kit.store, alone, IfLocked::Wait).await.unwrap();
    assert_eq!((waited.closed.leases, waited.locked), (0, [(locked, vec![of_locked])].into()));
    held.rollback().await.unwrap();
    assert_eq!(give_back(&kit.store, alone, IfLocked::Wait).await.unwrap().closed.leases, 1);
    assert_eq!(audit(&kit.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
}

/// A later version may have allowed terms that this one does not know.
#[tokio::test]
async fn a_campaign_whose_terms_cannot_be_read_gets_no_answer_and_stops_no_other() {
    let kit = Kit::new("ads_unreadable").await;
    let (unreadable, other) = (campaign(&kit, &[]).await, campaign(&kit, &[]).await);
    kit.sql("ALTER TABLE campaigns DROP CONSTRAINT campaigns_pacing_check").await;
    kit.sql("UPDATE campaigns SET pacing = 'later' WHERE id = 1").await;
    let ask = async || {
        let wants = [unreadable, other].map(|campaign| Want { campaign, amount: Nanos::new(CENT) });
        grant(&kit.store, "test", &wants, IfLocked::Skip).await
    };
    let answers = ask().await.unwrap();
    assert!(answers.locked.is_empty());
    let why = "this version does not know the pacing \"later\" of a campaign".to_owned();
    assert_eq!(answers.unreadable, [(unreadable, why)].into());
    let granted = Vec::from_iter(answers.granted);
    assert!(matches!(&granted[..], [(id, Granted { room: Room::Lease(_), .. })] if *id == other), "{granted:?}");
    assert_eq!(kit.number("SELECT reserved FROM campaigns WHERE id = 1").await, 0);

    // Of a zone that PostgreSQL does not know, it says nothing at all: whose fault it is, the caller finds out.
    kit.sql("UPDATE campaigns SET pacing = 'asap', timezone = 'Mars/Base' WHERE id = 1").await;
    let refused = ask().await.unwrap_err();
    assert_eq!(refused.class, Class::Poison, "{refused}");
}

#[tokio::test]
async fn an_erasure_that_meets_a_locked_campaign_fails_and_stops_no_events() {
    let kit = Kit::new("ads_locked_erasure").await;
    let (locked, other) = (campaign(&kit, &[]).await, campaign(&kit, &[]).await);
    let ((of_locked, facts), (of_other, _)) =
        (lease(&kit.store, locked, 10 * CENT).await, lease(&kit.store, other, 50 * CENT).await);
    let first = [(locked, "a", &of_locked), (other, "b", &of_other)]
        .map(|(campaign, id, lease)| Ad::new(campaign, id, Some(lease), facts.day, 0).delivery());
    applied(&kit.store, &first).await;
    let held = lock(&kit, "SELECT FROM campaigns WHERE id = 1 FOR UPDATE").await;
    let user = "u".parse().unwrap();
    let events = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                         AND wait_event_type = 'Lock' AND query LIKE '%FOR NO KEY UPDATE%'";
        eventually("the erasure waits for the campaign", async || kit.number(waiting).await == 1).await;
        let mut event = Ad::new(other, "c", Some(&of_other), facts.day, 1);
        event.user = "v";
        assert_eq!(applied(&kit.store, &[event.delivery()]).await, [Outcome::Counted]);
    };
    let (erased, ()) = tokio::join!(erase_user(&kit.store, &user), events);
    let failed = erased.unwrap_err();
    assert!(failed.reason.contains("lock timeout"), "{failed:?}");
    assert_eq!(kit.number("SELECT count(*) FROM ad_events WHERE user_id = 'u'").await, 2, "nothing is erased");
    held.rollback().await.unwrap();
    let erased = erase_user(&kit.store, &user).await.unwrap();
    assert_eq!((erased.events, erased.days, erased.fences.len()), (2, 2, 2));
    assert_eq!(kit.number("SELECT sum(booked_out)::bigint / 10000000 FROM campaigns").await, 2);
    assert_eq!(audit(&kit.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
}
