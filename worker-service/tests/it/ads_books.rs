//! The books of advertising: a generated history of leases and events ends as a simple model says, wherever its batches
//! are cut; and workers side by side lose and invent no money.

mod model;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use shared::ads::AdDelivery;
use shared::ads::Nanos;
use shared::ads::queries::{BEGIN, IfLocked, audit, close_leases, give_back};
use shared::store::{Class, Store, Tx, Work};
use worker_service::ads::{AdEventsConfig, Ads as Handles};
use worker_service::consumer::handler::Applied;

use self::model::{Books, CAMPAIGNS, Model};
use crate::prelude::*;

/// What happens, in this order.
#[derive(Debug, Clone)]
enum Op {
    /// The campaign's budget grows by some cents.
    Raise {
        campaign: usize,
        cents: i64,
    },
    Lease {
        campaign: usize,
        is_tomorrow: bool,
        cents: i64,
    },
    GiveBack {
        lease: usize,
        cents: i64,
    },
    Close {
        lease: usize,
    },
    Event(Event),
    /// Kafka delivers a record again.
    Redeliver {
        event: usize,
    },
    /// A client sends an event again, in another record, which another lease pays for.
    Retry {
        event: usize,
        lease: usize,
    },
}

#[derive(Debug, Clone)]
struct Event {
    campaign: usize,
    user: usize,
    kind: u8,
    cents: i64,
    /// `None`: an unknown lease.
    lease: Option<usize>,
    is_tomorrow: bool,
    is_bot: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let any_campaign = 0..CAMPAIGNS.len();
    let names = (any_campaign.clone(), 0..3_usize, 0..4_u8, 0..4_i64);
    let more = (prop::option::weighted(0.8, 0..8_usize), prop::bool::weighted(0.15), prop::bool::weighted(0.1));
    let event = (names, more).prop_map(|((campaign, user, kind, cents), (lease, is_tomorrow, is_bot))| {
        Op::Event(Event { campaign, user, kind, cents, lease, is_tomorrow, is_bot })
    });
    prop_oneof![
        1 => (any_campaign.clone(), 1..5_i64).prop_map(|(campaign, cents)| Op::Raise { campaign, cents }),
        4 => (any_campaign, prop::bool::weighted(0.2), 1..8_i64)
            .prop_map(|(campaign, is_tomorrow, cents)| Op::Lease { campaign, is_tomorrow, cents }),
        1 => (0..8_usize, 1..5_i64).prop_map(|(lease, cents)| Op::GiveBack { lease, cents }),
        2 => (0..8_usize).prop_map(|lease| Op::Close { lease }),
        14 => event,
        2 => (0..40_usize).prop_map(|event| Op::Redeliver { event }),
        4 => (0..40_usize, 0..8_usize).prop_map(|(event, lease)| Op::Retry { event, lease }),
    ]
}

/// The same histories in every run.
fn histories(count: usize, ops: usize) -> Vec<Vec<Op>> {
    let mut runner = TestRunner::deterministic();
    let history = prop::collection::vec(op(), ops..=ops);
    (0..count).map(|_| history.new_tree(&mut runner).unwrap().current()).collect()
}

fn lease_id(lease: usize) -> String {
    format!("lease-{lease}")
}

/// What a history writes to the log, and where: an operation becomes a record, or `None`.
#[derive(Default)]
struct Log {
    /// Each event with its latest record.
    events: Vec<(Ad, AdDelivery)>,
    offset: i64,
}

impl Log {
    fn record(&mut self, op: &Op) -> Option<AdDelivery> {
        self.offset += 1;
        match op {
            Op::Event(event) => {
                let ad = self.ad(event);
                let delivery = ad.delivery(self.offset);
                self.events.push((ad, delivery.clone()));
                Some(delivery)
            }
            Op::Redeliver { event } => {
                let known = self.events.len();
                Some(self.events.get(event.checked_rem(known)?)?.1.clone())
            }
            Op::Retry { event, lease } => {
                let known = self.events.len();
                let (ad, last) = self.events.get_mut(event.checked_rem(known)?)?;
                let mut again = ad.clone().after(self.offset);
                again.event.lease = Some(lease_id(*lease));
                *last = again.delivery(self.offset);
                Some(last.clone())
            }
            Op::Raise { .. } | Op::Lease { .. } | Op::GiveBack { .. } | Op::Close { .. } => None,
        }
    }

    fn ad(&self, event: &Event) -> Ad {
        let campaign = i64::try_from(event.campaign).unwrap() + 1;
        let user = format!("u{}", event.user);
        let named = ad(&format!("e{}", self.events.len())).campaign(campaign).user(&user);
        let mut new = match event.kind {
            0 | 1 => named,
            2 => named.click(),
            _ => named.conversion(),
        };
        new.event.cost = Nanos::new(event.cents * CENT);
        new.event.lease = event.lease.map(lease_id);
        if event.is_tomorrow {
            new.event.day = DAY.next_day().unwrap();
        }
        let new = if event.is_bot { new.agent("Some Bot/1.0") } else { new };
        // The first time of all of its records.
        Ad { at: new.at, ..new }
    }
}

/// A batch in a transaction.
struct Batch<'a>(&'a Handles, &'a [&'a AdDelivery]);

impl Work for Batch<'_> {
    type Output = Applied;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Applied, Failure> {
        self.0.apply(tx, self.1, &()).await
    }
}

fn handler() -> Handles {
    Handles::new(AdEventsConfig { ads_events_retention: Duration::MAX })
}

/// Repeats what another transaction got in the way of, as the scheduler does.
async fn again<T>(work: impl AsyncFn() -> Result<T, Failure>) -> T {
    loop {
        match work().await {
            Ok(done) => return done,
            Err(Failure { class: Class::Again, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn apply(store: &Store, handler: &Handles, batch: &[AdDelivery]) -> Vec<(&'static str, Option<&'static str>)> {
    let batch: Vec<_> = batch.iter().collect();
    let work = Batch(handler, &batch);
    let applied = again(async || store.transact(BEGIN, &work).await).await;
    applied.events.iter().map(|event| (event.outcome, event.reason)).collect()
}

/// Changes the money of a campaign, as the API and the settlement do.
async fn change(kit: &Kit, op: &Op, leases: &mut usize) {
    match op {
        Op::Raise { campaign, cents } => {
            let query = sqlx::query("UPDATE campaigns SET total_budget = total_budget + $2 WHERE id = $1");
            let query = query.bind(i64::try_from(*campaign).unwrap() + 1).bind(cents * CENT);
            query.execute(&kit.pool).await.unwrap();
        }
        Op::Lease { campaign, is_tomorrow, cents } => {
            let day = if *is_tomorrow { DAY.next_day().unwrap() } else { DAY };
            kit.lease(&lease_id(*leases), i64::try_from(*campaign).unwrap() + 1, day, *cents, 0.0).await;
            *leases += 1;
        }
        Op::GiveBack { lease, cents } => {
            let back = [(lease_id(*lease), Nanos::new(cents * CENT))];
            again(async || give_back(&kit.store, &back, IfLocked::Wait).await).await;
        }
        Op::Close { lease } => {
            let ids = [lease_id(*lease)];
            again(async || close_leases(&kit.store, &ids, IfLocked::Wait).await).await;
        }
        Op::Event(_) | Op::Redeliver { .. } | Op::Retry { .. } => {}
    }
}

async fn begin(kit: &Kit) {
    kit.sql(
        "TRUNCATE campaigns, campaign_days, ad_leases, ad_events, ad_user_days, ad_stats, ad_invalid
           RESTART IDENTITY CASCADE",
    )
    .await;
    for campaign in CAMPAIGNS {
        kit.campaign(campaign.columns).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_ends_as_the_model_says_wherever_its_batches_are_cut() {
    let kit = Kit::new("ads_books", 1).await;
    let handler = handler();
    let mut outcomes = BTreeMap::<_, usize>::new();
    for history in histories(16, 70) {
        for cut in [1, 4, usize::MAX] {
            begin(&kit).await;
            let (mut model, mut log, mut leases) = (Model::new(), Log::default(), 0);
            let mut batch: Vec<AdDelivery> = Vec::new();
            let mut expected = Vec::new();
            for op in history.iter().map(Some).chain([None]) {
                let record = op.and_then(|op| log.record(op));
                let changes = record.is_none();
                if let Some(record) = record {
                    expected.push(model.deliver(&record));
                    batch.push(record);
                }
                if !batch.is_empty() && (batch.len() >= cut || changes) {
                    let found = apply(&kit.store, &handler, &std::mem::take(&mut batch)).await;
                    let expected = std::mem::take(&mut expected);
                    assert_eq!(found, expected, "cut at {cut}: {history:#?}");
                    for outcome in expected {
                        *outcomes.entry(outcome).or_default() += 1;
                    }
                }
                if let Some(op) = op.filter(|_| changes) {
                    // The database refuses what a grant would not offer.
                    if model.change(op, leases) {
                        change(&kit, op, &mut leases).await;
                    }
                }
            }
            assert_eq!(Books::of(&kit).await, model.books(), "cut at {cut}: {history:#?}");
            assert_eq!(audit(&kit.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
        }
    }
    // No rule was left out.
    println!("{outcomes:?}");
    let reasons =
        ["no_room", "capped", "no_impression", "duplicate_click", "late_conversion", "user_rate", "user_agent"];
    for reason in reasons {
        assert!(outcomes.keys().any(|(_, found)| *found == Some(reason)), "{reason}: {outcomes:?}");
    }
    assert!(outcomes.contains_key(&("counted", None)) && outcomes.contains_key(&("repeated", None)), "{outcomes:?}");
    let raised = model::raised();
    assert!(raised > 0, "no void event was raised");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_side_by_side_lose_and_invent_no_money() {
    let kit = Kit::new("ads_aside", 1).await;
    let handler = handler();
    for history in histories(4, 240) {
        begin(&kit).await;
        let mut log = Log::default();
        // Each user's events are in one partition.
        let mut partitions: [Vec<AdDelivery>; 3] = Default::default();
        let mut changes = Vec::new();
        let (mut model, mut leases) = (Model::new(), 0);
        for op in &history {
            match log.record(op) {
                Some(record) => {
                    let user: usize = record.event.user.as_str()[1..].parse().unwrap();
                    partitions[user].push(record);
                }
                // While the events are applied.
                None if matches!(op, Op::GiveBack { .. } | Op::Close { .. }) => changes.push(op.clone()),
                None if model.change(op, leases) => change(&kit, op, &mut leases).await,
                None => {}
            }
        }
        let ids: std::collections::BTreeSet<_> = partitions
            .iter()
            .flatten()
            .map(|record| (record.event.campaign.get(), record.envelope.id.clone()))
            .collect();
        let applying = join_all(partitions.iter().map(async |records| {
            for batch in records.chunks(3) {
                apply(&kit.store, &handler, batch).await;
            }
        }));
        let changing = async {
            for op in &changes {
                change(&kit, op, &mut leases).await;
                assert_eq!(audit(&kit.store, 0, 10_000).await.unwrap().broken, [0_i64; 0], "at any time");
            }
        };
        tokio::join!(applying, changing);
        assert_eq!(audit(&kit.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
        assert_eq!(kit.count("SELECT count(*) FROM ad_events").await, i64::try_from(ids.len()).unwrap());
        let unbalanced = "SELECT count(*) FROM campaigns AS c WHERE spent <> booked_out + (
            SELECT coalesce(sum(cost), 0) FROM ad_events WHERE campaign_id = c.id AND outcome = 'counted')";
        assert_eq!(kit.count(unbalanced).await, 0, "what is billed is spent");
        let over = "SELECT count(*) FROM (
            SELECT FROM ad_events WHERE campaign_id = 1 AND type = 'impression' AND outcome = 'counted'
            GROUP BY user_id, day HAVING count(*) > 2) AS over";
        assert_eq!(kit.count(over).await, 0, "no user is over the cap");
    }
}
