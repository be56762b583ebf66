//! Asks PostgreSQL for the facts and leases that the book needs, and returns what the book needs no more.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use shared::ads::queries::{self, Room};
use shared::store::Store;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use uuid::Uuid;

use super::book::Book;
use super::outage::Outage;

/// The least time between two questions.
const EVERY: Duration = Duration::from_millis(100);
/// How often the campaigns in use are compared with their revisions.
const REVISIONS_EVERY: Duration = Duration::from_secs(1);

const GRANTED: &str = "granted";
const EMPTY: &str = "empty";
const FAILED: &str = "failed";
/// The outcomes of a question.
pub(super) const OUTCOMES: [&str; 3] = [GRANTED, EMPTY, FAILED];

pub(super) struct Refill {
    store: Store,
    /// The name of this process on its leases.
    instance: String,
    /// An event waits.
    wanted: Notify,
    /// The number of questions that have ended.
    round: watch::Sender<u64>,
    /// Locked while money is on its way between PostgreSQL and the book.
    moving: Mutex<()>,
    asking: Outage,
    returning: Outage,
    comparing: Outage,
}

/// Waits for answers.
pub(super) struct Rounds(watch::Receiver<u64>);

impl Rounds {
    /// Waits until a question ends; false if none does before then.
    pub(super) async fn next(&mut self, until: Instant) -> bool {
        matches!(timeout_at(until.into(), self.0.changed()).await, Ok(Ok(())))
    }
}

impl Refill {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            instance: Uuid::new_v4().to_string(),
            wanted: Notify::new(),
            round: watch::Sender::new(0),
            moving: Mutex::default(),
            asking: Outage::of("ask for leases of ad budgets"),
            returning: Outage::of("return leases of ad budgets: they are closed after their end"),
            comparing: Outage::of("compare campaigns with their revisions"),
        }
    }

    /// The questions that end from now on.
    pub(super) fn rounds(&self) -> Rounds {
        Rounds(self.round.subscribe())
    }

    /// An event waits.
    pub(super) fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Refills the book, forever.
    pub(super) async fn run(self: &Arc<Self>, book: &Arc<Book>) {
        loop {
            let began = Instant::now();
            let (refill, book) = (Arc::clone(self), Arc::clone(book));
            // It goes on if this is given up: money that is on its way would be nowhere until its lease is closed.
            let moving = tokio::spawn(async move {
                let _moving = refill.moving.lock().await;
                tokio::join!(refill.ask(&book), refill.give_back(&book));
            });
            if let Err(error) = moving.await
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
            sleep_until((began + EVERY).into()).await;
            // It also comes by itself, before leases are used up or end.
            let _ = timeout(EVERY, self.wanted.notified()).await;
        }
    }

    async fn ask(&self, book: &Book) {
        // Before the question: then a slow answer shortens leases.
        let asked_at = Instant::now();
        let wants = book.wants(asked_at);
        if wants.is_empty() {
            return;
        }
        let outcome = match queries::grant(&self.store, &self.instance, &wants).await {
            Ok(mut granted) => {
                self.asking.worked();
                let has_lease = granted.values().any(|granted| matches!(granted.room, Room::Lease(_)));
                let now = Instant::now();
                for want in &wants {
                    book.granted(want.campaign, granted.remove(&want.campaign), asked_at, now);
                }
                if has_lease { GRANTED } else { EMPTY }
            }
            Err(error) => {
                self.asking.failed(error);
                FAILED
            }
        };
        counter!("ads_grants_total", "outcome" => outcome).increment(1);
        self.round.send_modify(|round| *round += 1);
    }

    /// At the end: returns all leases, and those that are on their way.
    pub(super) async fn end(&self, book: &Book) {
        let _moving = self.moving.lock().await;
        book.close();
        self.give_back(book).await;
    }

    /// Returns what was not used of leases that have ended.
    async fn give_back(&self, book: &Book) {
        let returns = book.returns();
        if returns.is_empty() {
            return;
        }
        // Not repeated: it may have been done, and another time would free money that events still need.
        match queries::give_back(&self.store, &returns).await {
            Ok(()) => self.returning.worked(),
            Err(error) => self.returning.failed(error),
        }
    }

    /// Notices changes of the campaigns in use, forever.
    pub(super) async fn watch_revisions(&self, book: &Book) {
        loop {
            sleep(REVISIONS_EVERY).await;
            let open = book.open(Instant::now());
            if open.is_empty() {
                continue;
            }
            match queries::revisions(&self.store, &open).await {
                Ok(revisions) => {
                    self.comparing.worked();
                    for campaign in open {
                        book.revised(campaign, revisions.get(&campaign).copied());
                    }
                }
                // Their leases and facts end soon.
                Err(error) => self.comparing.failed(error),
            }
        }
    }
}
