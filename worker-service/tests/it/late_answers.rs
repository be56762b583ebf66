//! PostgreSQL answers after the deadline: the answer is nobody's.

use std::collections::HashSet;
use std::time::Duration;

use devstack::{Proxy, Scope};
use shared::store::{Class, Store};

use crate::kit::{Kit, run_config};

const SESSIONS: &str = "SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'late'";

async fn sessions(kit: &Kit) -> HashSet<i32> {
    sqlx::query_scalar(SESSIONS).fetch_all(&kit.pool).await.unwrap().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_late_meets_no_other_question() {
    let kit = Kit::new("late", 1).await;
    let worker = kit.worker();
    for n in 0..20 {
        kit.event(&format!("d{n}"), "1", &format!(r#"{{"n":{n}}}"#)).await;
    }
    kit.until("SELECT count(*) FROM events", 20).await;
    worker.stop().await.unwrap();

    let (server, database) = kit.scope.database_url.rsplit_once('/').unwrap();
    let (user, port) = server.rsplit_once(':').unwrap();
    let proxy = Proxy::to(port.parse().unwrap()).unwrap();
    let database_url = format!("{user}:{}/{database}", proxy.port);
    let mut config = run_config(&Scope { database_url, ..kit.scope.clone() }).stores.postgres;
    // As many sessions as questions at once: each of them is used by a question that comes too late.
    (config.timeout, config.max_connections) = (Duration::from_secs(1), 5);
    let store = Store::open(&config, "late").unwrap();
    let ask = async |n: i32| {
        let found = store.resource(&format!("d{n}").parse().unwrap()).await?;
        let body: serde_json::Value = serde_json::from_str(&found.unwrap().body).unwrap();
        assert_eq!((&body["id"], &body["payload"]["n"]), (&format!("d{n}").into(), &n.into()), "its own answer");
        Ok::<_, shared::store::StoreError>(())
    };
    // Warm, several sessions.
    futures_util::future::try_join_all((0..5).map(&ask)).await.unwrap();
    let before = sessions(&kit).await;
    assert!(!before.is_empty());

    proxy.slow(Duration::from_secs(2));
    for outcome in futures_util::future::join_all((5..10).map(&ask)).await {
        assert_eq!(outcome.unwrap_err().class, Class::Outage);
    }
    proxy.mend();
    // Beside the answers that are still under way.
    for round in 0..40 {
        let asked = futures_util::future::join_all((0..5).map(|n| ask((round + n) % 20))).await;
        assert!(round < 30 || asked.iter().all(Result::is_ok), "well again: {asked:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let late = sessions(&kit).await;
    assert!(before.is_disjoint(&late), "sessions that were given up are closed, not used again");
    assert!(!late.is_empty());
}
