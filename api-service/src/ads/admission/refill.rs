//! Asks PostgreSQL for the facts and leases that the book needs, and returns what the book needs no more.
//!
//! Both leave out the campaigns that somebody else has locked. These are waited for one by one meanwhile, so that none
//! stops another. Nor does one for which PostgreSQL has no answer that can be read: it is found by halves.

mod failing;

use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use metrics::counter;
use shared::ads::queries::{self, Grants, IfLocked, Room, Want};
use shared::ads::{CampaignId, Nanos};
use shared::store::{Class, Store};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use uuid::Uuid;

use self::failing::Failing;
use super::book::Book;
use super::outage::Outage;

/// The least time between two questions.
const EVERY: Duration = Duration::from_millis(100);
/// How often the campaigns in use are compared with their revisions.
const REVISIONS_EVERY: Duration = Duration::from_secs(1);

/// The most locked campaigns that are waited for at a time, each with a connection to PostgreSQL.
const WAITS: u32 = 4;
/// How long locked campaigns are waited for at the end.
const END: Duration = Duration::from_secs(2);

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
    moving: tokio::sync::Mutex<()>,
    waits: Arc<Semaphore>,
    /// The campaigns that are waited for.
    waited: Mutex<HashSet<CampaignId>>,
    failing: Failing,
    asking: Outage,
    locking: Outage,
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
            moving: tokio::sync::Mutex::default(),
            waits: Arc::new(Semaphore::new(WAITS as usize)),
            waited: Mutex::default(),
            failing: Failing::default(),
            asking: Outage::of("ask for leases of ad budgets"),
            locking: Outage::of("lease the budget of each campaign"),
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

    async fn ask(self: &Arc<Self>, book: &Arc<Book>) {
        let now = Instant::now();
        let mut wants = book.wants(now);
        wants.retain(|want| !self.waited().contains(&want.campaign) && self.failing.may_be_asked(want.campaign, now));
        if wants.is_empty() {
            return;
        }
        let locked = self.ask_for(book, &wants, IfLocked::Skip).await;
        if locked.is_empty() && self.waited().is_empty() {
            self.locking.worked();
        }
        for want in wants.into_iter().filter(|want| locked.contains(&want.campaign)) {
            let Some(wait) = self.wait_for(want.campaign) else { continue };
            let book = Arc::clone(book);
            tokio::spawn(async move { wait.ask(&book, want).await });
        }
        self.round.send_modify(|round| *round += 1);
    }

    /// Asks for these, and returns the campaigns that are locked. They get no answer. If one of them makes PostgreSQL
    /// refuse the question, it asks again in halves, until that one is alone.
    async fn ask_for(&self, book: &Book, wants: &[Want], if_locked: IfLocked) -> HashSet<CampaignId> {
        let mut locked = HashSet::new();
        let mut pieces = vec![wants];
        while let Some(piece) = pieces.pop() {
            // Before the question: then a slow answer shortens leases.
            let asked_at = Instant::now();
            let outcome = match queries::grant(&self.store, &self.instance, piece, if_locked).await {
                Ok(answers) => {
                    self.asking.worked();
                    let outcome = outcome_of(&answers, if_locked);
                    locked.extend(self.answered(book, piece, answers, asked_at));
                    outcome
                }
                Err(error) if matches!(error.class, Class::Poison | Class::Failed) => {
                    if let [alone] = piece {
                        self.failing.failed(alone.campaign, error, Instant::now());
                    } else {
                        let (one, other) = piece.split_at(piece.len() / 2);
                        pieces.extend([one, other]);
                    }
                    FAILED
                }
                Err(error) => {
                    self.asking.failed(error);
                    pieces.clear();
                    FAILED
                }
            };
            counter!("ads_grants_total", "outcome" => outcome).increment(1);
        }
        locked
    }

    /// Passes answers to the book, and returns the campaigns that have none because they are locked.
    fn answered(
        &self,
        book: &Book,
        wants: &[Want],
        Grants { mut granted, locked, unreadable }: Grants,
        asked_at: Instant,
    ) -> HashSet<CampaignId> {
        let now = Instant::now();
        self.failing.worked(granted.keys().copied());
        for want in wants.iter().filter(|want| !locked.contains(&want.campaign)) {
            if let Some(why) = unreadable.get(&want.campaign) {
                self.failing.failed(want.campaign, why, now);
            } else {
                book.granted(want.campaign, granted.remove(&want.campaign), asked_at, now);
            }
        }
        locked
    }

    /// Returns what was not used of leases that have ended.
    async fn give_back(self: &Arc<Self>, book: &Arc<Book>) {
        for (campaign, leases) in self.send_back(&book.returns(), IfLocked::Skip).await {
            match self.wait_for(campaign) {
                Some(wait) => {
                    let book = Arc::clone(book);
                    tokio::spawn(async move { wait.give_back(&book, leases).await });
                }
                None => book.returned(campaign, leases),
            }
        }
    }

    /// At the end: returns all leases, and those that are on their way.
    pub(super) async fn end(&self, book: &Book) {
        let _moving = self.moving.lock().await;
        // Nobody waits any more, so the book has all that was leased.
        let _all = self.waits.acquire_many(WAITS).await;
        book.close();
        let locked = self.send_back(&book.returns(), IfLocked::Skip).await;
        let alone: Vec<_> = locked.values().map(|leases| self.send_back(leases, IfLocked::Wait)).collect();
        let all = stream::iter(alone).buffer_unordered(WAITS as usize).for_each(async |_| ());
        let _ = timeout(END, all).await;
    }

    /// `None` if this campaign is waited for already, or too many are: another turn meets it again.
    fn wait_for(self: &Arc<Self>, campaign: CampaignId) -> Option<Wait> {
        let permit = Arc::clone(&self.waits).try_acquire_owned().ok()?;
        let is_new = self.waited().insert(campaign);
        is_new.then(|| Wait { refill: Arc::clone(self), campaign, _permit: permit })
    }

    fn waited(&self) -> MutexGuard<'_, HashSet<CampaignId>> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns these, and what it could not return, because the campaigns are locked.
    async fn send_back(
        &self,
        returns: &[(String, Nanos)],
        if_locked: IfLocked,
    ) -> HashMap<CampaignId, Vec<(String, Nanos)>> {
        if returns.is_empty() {
            return HashMap::new();
        }
        // Not repeated after a failure: it may have been done, and another time would free money that events still need.
        match queries::give_back(&self.store, returns, if_locked).await {
            Ok(released) => {
                self.returning.worked();
                let amounts: HashMap<&str, Nanos> = returns.iter().map(|(id, amount)| (id.as_str(), *amount)).collect();
                let with_amounts = |ids: Vec<String>| {
                    let leases = ids.into_iter().filter_map(|id| {
                        let amount = *amounts.get(id.as_str())?;
                        Some((id, amount))
                    });
                    leases.collect()
                };
                released.locked.into_iter().map(|(campaign, ids)| (campaign, with_amounts(ids))).collect()
            }
            Err(error) => {
                self.returning.failed(error);
                HashMap::new()
            }
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

fn outcome_of(answers: &Grants, if_locked: IfLocked) -> &'static str {
    if answers.granted.values().any(|granted| matches!(granted.room, Room::Lease(_))) {
        GRANTED
    } else if if_locked == IfLocked::Wait && !answers.locked.is_empty() {
        FAILED
    } else {
        EMPTY
    }
}

/// Waits for one locked campaign, beside everything else.
struct Wait {
    refill: Arc<Refill>,
    campaign: CampaignId,
    _permit: OwnedSemaphorePermit,
}

impl Wait {
    async fn ask(&self, book: &Book, want: Want) {
        let locked = self.refill.ask_for(book, &[want], IfLocked::Wait).await;
        if !locked.is_empty() {
            self.is_locked();
        }
    }

    async fn give_back(&self, book: &Book, leases: Vec<(String, Nanos)>) {
        for (campaign, leases) in self.refill.send_back(&leases, IfLocked::Wait).await {
            self.is_locked();
            book.returned(campaign, leases);
        }
    }

    fn is_locked(&self) {
        self.refill.locking.failed(format_args!("another transaction has locked campaign {}", self.campaign));
    }
}

impl Drop for Wait {
    /// Events that wait for the campaign look again.
    fn drop(&mut self) {
        self.refill.waited().remove(&self.campaign);
        self.refill.round.send_modify(|round| *round += 1);
    }
}
