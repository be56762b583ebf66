//! PostgreSQL answers after the deadline: the answer must not reach another query.

use std::collections::HashSet;

use shared::store::{Class, Store};

use crate::prelude::*;

const SESSIONS: &str = "SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'late'";

/// A store that reaches PostgreSQL through a proxy, with devices `d0` to `d19`.
struct Slowed {
    kit: Kit,
    proxy: Proxy,
    store: Store,
}

impl Slowed {
    async fn new(application: &str) -> Self {
        let (kit, worker) = Kit::with_worker(application, 1).await;
        for n in 0..20 {
            kit.event(&format!("d{n}"), "1", &format!(r#"{{"n":{n}}}"#)).await;
        }
        kit.until("SELECT count(*) FROM events", 20).await;
        worker.stop().await.unwrap();

        let (proxy, database_url) = Proxy::before(&kit.scope.database_url).unwrap();
        let mut config = run_config(&Scope { database_url, ..kit.scope.clone() }).stores.postgres;
        // As many sessions as concurrent queries, so that each session serves a query that misses its deadline.
        (config.timeout, config.max_connections) = (Duration::from_secs(1), 5);
        let store = Store::open(&config, "late").unwrap();
        Self { kit, proxy, store }
    }

    async fn ask(&self, n: i32) -> Result<(), Failure> {
        let found = queries::resource(&self.store, &format!("d{n}").parse().unwrap()).await?;
        let body: serde_json::Value = serde_json::from_str(&found.unwrap().body).unwrap();
        assert_eq!((&body["id"], &body["payload"]["n"]), (&format!("d{n}").into(), &n.into()), "its own answer");
        Ok(())
    }

    /// Opens several sessions, and returns them to the pool.
    async fn warm(&self) -> HashSet<i32> {
        futures_util::future::try_join_all((0..5).map(|n| self.ask(n))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = self.sessions().await;
        assert!(!before.is_empty());
        before
    }

    /// The earlier sessions are closed, and the current ones return correct answers.
    async fn assert_well_again(&self, before: &HashSet<i32>) {
        for round in 0..40 {
            let asked = join_all((0..5).map(|n| self.ask((round + n) % 20))).await;
            assert!(round < 30 || asked.iter().all(Result::is_ok), "well again: {asked:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let late = self.sessions().await;
        assert!(!late.is_empty() && before.is_disjoint(&late), "those given up are closed: {before:?}, {late:?}");
    }

    async fn sessions(&self) -> HashSet<i32> {
        sqlx::query_scalar(SESSIONS).fetch_all(&self.kit.pool).await.unwrap().into_iter().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_late_meets_no_other_question() {
    let slowed = Slowed::new("late").await;
    let before = slowed.warm().await;
    slowed.proxy.slow(Duration::from_secs(2));
    for outcome in join_all((5..10).map(|n| slowed.ask(n))).await {
        assert!(matches!(outcome.unwrap_err().class, Class::Outage | Class::OutageMet));
    }
    slowed.proxy.mend();
    // While late answers are still arriving.
    slowed.assert_well_again(&before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_asker_left_has_the_deadline_too() {
    let slowed = Slowed::new("left").await;
    let before = slowed.warm().await;
    slowed.proxy.hold();
    for outcome in join_all((5..10).map(|n| tokio::time::timeout(Duration::from_millis(100), slowed.ask(n)))).await {
        outcome.unwrap_err();
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    slowed.proxy.mend();
    slowed.assert_well_again(&before).await;
}
