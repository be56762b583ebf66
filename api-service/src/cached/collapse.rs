//! Concurrent reads of one resource share one query of PostgreSQL.
//!
//! A running query may have missed a write that a new reader knows of. So a reader never joins a query that started
//! before the reader came: while one runs, new readers wait for the next one and share it. Each resource has one query
//! at a time, whether Redis works or not, so that many clients that poll one resource leave connections for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use shared::cache::CacheKey;
use shared::store::Failure;
use tokio::sync::watch;

use super::Loaded;

type Answer = Result<Loaded, Failure>;
/// The readers of a query wait on this channel. It closes without an answer if the query panicked.
type Tell = watch::Sender<Option<Answer>>;

/// Queries of PostgreSQL, each shared by its waiting readers.
#[derive(Clone)]
pub(super) struct Collapse {
    query: Arc<dyn Fn(CacheKey) -> BoxFuture<'static, Answer> + Send + Sync>,
    /// The running queries by resource, each with the channel of the readers that wait for the next query, if any.
    running: Arc<Mutex<HashMap<CacheKey, Option<Tell>>>>,
}

impl Collapse {
    pub(super) fn new(query: impl Fn(CacheKey) -> BoxFuture<'static, Answer> + Send + Sync + 'static) -> Self {
        Self { query: Arc::new(query), running: Arc::default() }
    }

    /// The result of a query that starts no earlier than this call. The query continues if the reader is dropped; a
    /// panic of the query counts as an outage.
    pub(super) async fn read(&self, key: &CacheKey) -> Answer {
        let mut ticket = {
            let mut running = self.running();
            match running.get_mut(key) {
                Some(next) => next.get_or_insert_with(Tell::default).subscribe(),
                None => {
                    let tell = Tell::default();
                    let ticket = tell.subscribe();
                    running.insert(key.clone(), None);
                    // Created before the task, so that dropping it frees the resource even if the task never runs.
                    let running = Running { collapse: self.clone(), key: key.clone(), ended: false };
                    tokio::spawn(running.run(tell));
                    ticket
                }
            }
        };
        match ticket.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            Ok(None) | Err(_) => Err(Failure::unanswered()),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<CacheKey, Option<Tell>>> {
        // A panic of the lock's holder cannot leave the map inconsistent.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One resource's queries, one after the other.
struct Running {
    collapse: Collapse,
    key: CacheKey,
    ended: bool,
}

impl Running {
    async fn run(mut self, mut tell: Tell) {
        loop {
            tell.send_replace(Some((self.collapse.query)(self.key.clone()).await));
            match self.next() {
                Some(next) => tell = next,
                None => return,
            }
        }
    }

    /// The channel of the next query. If no reader waits for one, the resource is removed under the same lock, so that
    /// a later reader starts a query itself.
    fn next(&mut self) -> Option<Tell> {
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
    /// After a panic: the readers that wait for the next query get an error, and a later reader starts a query itself.
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
    use futures_util::FutureExt as _;
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
        // A query finds the state at its start.
        let version = database.version.load(Ordering::SeqCst);
        for _ in 0..fastrand::usize(..5) {
            yield_now().await;
        }
        database.running.fetch_sub(1, Ordering::SeqCst);
        Ok(Loaded { version, body: Bytes::new() })
    }

    #[tokio::test]
    async fn nobody_gets_what_was_read_before_he_came_and_many_share_one_query() {
        let database = Arc::new(Database::default());
        let ask = Arc::clone(&database);
        let collapse = Collapse::new(move |_| query(Arc::clone(&ask)).boxed());
        let mut readers = Vec::new();
        for _ in 0..1_000 {
            let (collapse, database) = (collapse.clone(), Arc::clone(&database));
            readers.push(tokio::spawn(async move {
                for _ in 0..fastrand::usize(..20) {
                    yield_now().await;
                }
                let known = database.version.fetch_add(1, Ordering::SeqCst) + 1;
                let found = collapse.read(&key("d")).await.unwrap();
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
        let queries = AtomicUsize::new(0);
        let collapse = Collapse::new(move |_| {
            let is_defect = queries.fetch_add(1, Ordering::SeqCst) == 0;
            Box::pin(async move {
                yield_now().await;
                assert!(!is_defect, "a defect");
                Ok(Loaded { version: 7, body: Bytes::new() })
            })
        });
        let d = key("d");
        let (first, second) = tokio::join!(collapse.read(&d), collapse.read(&d));
        assert!(first.is_err() && second.is_err());
        assert_eq!(collapse.read(&d).await.unwrap().version, 7);
    }

    #[tokio::test]
    async fn resources_do_not_wait_for_each_other() {
        let collapse = Collapse::new(|key| match &**key.id() {
            "slow" => Box::pin(std::future::pending()),
            _ => Box::pin(std::future::ready(Ok(Loaded { version: 1, body: Bytes::new() }))),
        });
        let stuck = collapse.clone();
        let never = tokio::spawn(async move { stuck.read(&key("slow")).await });
        yield_now().await;
        assert_eq!(collapse.read(&key("quick")).await.unwrap().version, 1);
        never.abort();
    }
}
