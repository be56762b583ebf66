//! Reads of one resource that come at the same time ask PostgreSQL once.
//!
//! A query that is under way may have missed a write that a new reader knows of. So a reader never joins a query that
//! began before the reader came: while one runs, the readers that come wait for the next one, and share it. Each
//! resource has one query at a time, whatever Redis does, so that many who poll one device leave connections for
//! others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::cache::CacheKey;
use shared::store::Failure;
use tokio::sync::watch;

use super::single_flight::Loaded;

type Answer = Result<Loaded, Failure>;
/// Closed without a word where the query crashed.
type Ticket = watch::Receiver<Option<Answer>>;

/// The queries that run, by resource; each with the query behind it, if a reader waits for that.
#[derive(Clone, Default)]
pub(super) struct Collapse(Arc<Mutex<HashMap<CacheKey, Option<Next>>>>);

/// A query that is still to begin.
struct Next {
    tell: watch::Sender<Option<Answer>>,
    ticket: Ticket,
}

impl Next {
    fn new() -> Self {
        let (tell, ticket) = watch::channel(None);
        Self { tell, ticket }
    }
}

impl Collapse {
    /// What a query finds that begins no earlier than this call. The query goes on whatever becomes of the reader.
    ///
    /// # Errors
    /// The query's; its crash counts as an outage.
    pub(super) async fn read<Q>(&self, key: &CacheKey, query: impl Fn(CacheKey) -> Q + Send + 'static) -> Answer
    where
        Q: Future<Output = Answer> + Send + 'static,
    {
        let mut ticket = {
            let mut running = self.running();
            match running.get_mut(key) {
                Some(next) => next.get_or_insert_with(Next::new).ticket.clone(),
                None => {
                    let Next { tell, ticket } = Next::new();
                    running.insert(key.clone(), None);
                    // Made here, so that the resource is free again even where the task never runs.
                    let running = Running { collapse: self.clone(), key: key.clone(), ended: false };
                    tokio::spawn(running.run(tell, query));
                    ticket
                }
            }
        };
        match ticket.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            Ok(None) | Err(_) => Err(Failure::unanswered()),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<CacheKey, Option<Next>>> {
        // The map is whole whenever the lock is free, whatever the holder's fate.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One resource's queries, one after the other.
struct Running {
    collapse: Collapse,
    key: CacheKey,
    ended: bool,
}

impl Running {
    async fn run<Q>(mut self, mut tell: watch::Sender<Option<Answer>>, query: impl Fn(CacheKey) -> Q)
    where
        Q: Future<Output = Answer>,
    {
        loop {
            tell.send_replace(Some(query(self.key.clone()).await));
            match self.next() {
                Some(next) => tell = next.tell,
                None => return,
            }
        }
    }

    /// The next query. Where nobody waits for one, the resource is removed under the same lock, so that a reader that
    /// comes later starts a query itself.
    fn next(&mut self) -> Option<Next> {
        let mut running = self.collapse.running();
        let next = running.get_mut(&self.key).and_then(Option::take);
        if next.is_none() {
            running.remove(&self.key);
            self.ended = true;
        }
        next
    }
}

impl Drop for Running {
    /// A query panicked: the readers that wait for the next one get an error, and a later reader starts a query itself.
    fn drop(&mut self) {
        if !self.ended {
            self.collapse.running().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use bytes::Bytes;
    use shared::cache::Kind;
    use tokio::task::yield_now;

    use super::*;

    static KIND: Kind = Kind { prefix: "thing:", load: |_, _| Box::pin(std::future::ready(Ok(Vec::new()))) };

    fn key(text: &str) -> CacheKey {
        CacheKey::new(&KIND, text.into())
    }

    /// A database whose version only grows, and which counts its queries.
    #[derive(Default)]
    struct Database {
        version: AtomicI64,
        queries: AtomicUsize,
        running: AtomicUsize,
    }

    async fn query(database: Arc<Database>) -> Answer {
        assert_eq!(database.running.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
        database.queries.fetch_add(1, Ordering::SeqCst);
        // What it finds is what was there when it began.
        let version = database.version.load(Ordering::SeqCst);
        for _ in 0..fastrand::usize(..5) {
            yield_now().await;
        }
        database.running.fetch_sub(1, Ordering::SeqCst);
        Ok(Loaded { version, body: Bytes::new() })
    }

    #[tokio::test]
    async fn nobody_gets_what_was_read_before_he_came_and_many_share_one_query() {
        let (collapse, database) = (Collapse::default(), Arc::new(Database::default()));
        let id = key("d");
        let mut readers = Vec::new();
        for _ in 0..1_000 {
            let (collapse, database, id) = (collapse.clone(), Arc::clone(&database), id.clone());
            readers.push(tokio::spawn(async move {
                for _ in 0..fastrand::usize(..20) {
                    yield_now().await;
                }
                let known = database.version.fetch_add(1, Ordering::SeqCst) + 1;
                let ask = Arc::clone(&database);
                let found = collapse.read(&id, move |_| query(Arc::clone(&ask))).await.unwrap();
                assert!(found.version >= known, "{} and knows of {known}", found.version);
            }));
        }
        for reader in readers {
            reader.await.unwrap();
        }
        let queries = database.queries.load(Ordering::SeqCst);
        assert!(queries < 100, "{queries} queries for 1,000 readers");
        assert!(collapse.running().is_empty(), "nothing is left of them");
    }

    #[tokio::test]
    async fn a_query_that_crashes_is_an_error_for_those_who_wait_and_for_nobody_else() {
        let collapse = Collapse::default();
        let id = key("d");
        let crash = |_| async {
            yield_now().await;
            panic!("a defect")
        };
        let (first, second) = tokio::join!(collapse.read(&id, crash), collapse.read(&id, crash));
        assert!(first.is_err() && second.is_err());
        let found = Loaded { version: 7, body: Bytes::new() };
        let well = found.clone();
        assert_eq!(collapse.read(&id, move |_| std::future::ready(Ok(well.clone()))).await.unwrap(), found);
    }

    #[tokio::test]
    async fn resources_do_not_wait_for_each_other() {
        let collapse = Collapse::default();
        let (slow, quick) = (key("slow"), key("quick"));
        let stuck = collapse.clone();
        let never = tokio::spawn(async move { stuck.read(&slow, |_| std::future::pending()).await });
        yield_now().await;
        let found = collapse.read(&quick, |_| std::future::ready(Ok(Loaded { version: 1, body: Bytes::new() }))).await;
        assert_eq!(found.unwrap().version, 1);
        never.abort();
    }
}
