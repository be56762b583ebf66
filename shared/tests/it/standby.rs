//! PostgreSQL fails over, and its name leads to a standby for a while: what lags behind is neither shown nor cached.

use std::time::Duration;

use devstack::{Postgres, Proxy, psql};
use shared::store::{Class, Store};

use crate::kit::{at, event, eventually, id, settings};

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_connection_that_leads_to_a_standby_is_refused_and_one_to_its_successor_is_not() {
    let primary = blocking(Postgres::start).await;
    let name = Proxy::to(primary.port).unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", name.port);
    let config = settings(&url, "redis://127.0.0.1:1", "p:").postgres;
    let store = Store::open(&config, "test").unwrap();
    store.migrate().await.unwrap();
    store.apply(&[&event("a", "1", "{}", at(0, 1))]).await.unwrap();
    // It stays an hour behind.
    let (primary, standby) = blocking(move || {
        let standby = primary.standby(Duration::from_secs(3600))?;
        Ok((primary, standby))
    })
    .await;
    store.apply(&[&event("a", "2", "{}", at(0, 2))]).await.unwrap();
    let lagging = psql(&standby.url(), "SELECT version FROM resources").unwrap();
    assert_eq!(lagging, "1", "it is behind");

    // The name leads there, and the connections to the old primary end.
    name.lead_to(standby.port);
    name.drop_connections();
    for _ in 0..3 {
        let error = store.resource(&id("a")).await.unwrap_err();
        // The first one may have been given a connection that had just ended.
        if !error.message.contains("it takes no writes") {
            assert_eq!(error.class, Class::Outage, "{error}");
        }
    }
    let error = store.resource(&id("a")).await.unwrap_err();
    let expected = format!("no connection to PostgreSQL at 127.0.0.1:{}: ", name.port);
    assert!(error.message.starts_with(&expected) && error.message.contains("it takes no writes"), "{error}");
    assert_eq!(error.class, Class::Outage);
    let error = store.apply(&[&event("a", "3", "{}", at(0, 3))]).await.unwrap_err();
    assert!(error.message.contains("it takes no writes"), "{error}");

    let standby = blocking(move || {
        primary.kill()?;
        standby.promote()?;
        Ok(standby)
    })
    .await;
    eventually("it serves", async || store.resource(&id("a")).await.is_ok()).await;
    assert_eq!(store.resource(&id("a")).await.unwrap().unwrap().version, 2, "all that it got is applied");
    let applied = store.apply(&[&event("a", "3", "{}", at(0, 3))]).await.unwrap();
    assert_eq!(applied.versions, [(id("a"), 3)]);
    drop(standby);
}

#[tokio::test]
async fn why_there_is_no_connection_is_told_with_the_server() {
    let open = |url: &str| {
        let mut config = settings(url, "redis://127.0.0.1:1", "p:").postgres;
        // A connection is waited for half as long as a statement may take.
        config.timeout = Duration::from_secs(5);
        config.max_connections = 1;
        Store::open(&config, "test").unwrap()
    };
    let port = devstack::port::free();
    let store = open(&format!("postgres://postgres@127.0.0.1:{port}/postgres"));
    let error = store.resource(&id("a")).await.unwrap_err().message;
    assert!(error.starts_with(&format!("no connection to PostgreSQL at 127.0.0.1:{port}: ")), "{error}");
    assert!(error.contains("refused"), "{error}");

    let postgres = blocking(Postgres::start).await;
    let silent = Proxy::to(postgres.port).unwrap();
    silent.hold();
    let store = open(&format!("postgres://postgres@127.0.0.1:{}/postgres", silent.port));
    let error = store.resource(&id("a")).await.unwrap_err().message;
    assert!(error.ends_with(": no answer in time"), "{error}");
    silent.mend();

    let store = open(&format!("postgres://postgres@127.0.0.1:{}/nothing", postgres.port));
    let error = store.resource(&id("a")).await.unwrap_err().message;
    assert!(error.contains("3D000") && error.contains("\"nothing\" does not exist"), "{error}");

    // All that it may have are in use.
    let store = open(&postgres.url());
    store.migrate().await.unwrap();
    let lock = sqlx::PgPool::connect(&postgres.url()).await.unwrap();
    let lock = lock.begin_with("BEGIN; LOCK TABLE resources IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (a, b) = (id("a"), id("b"));
    let (first, second) = tokio::join!(store.resource(&a), store.resource(&b));
    let told = [first.unwrap_err().message, second.unwrap_err().message];
    assert!(told.iter().any(|told| told.contains("DATABASE_MAX_CONNECTIONS are in use")), "{told:?}");
    lock.rollback().await.unwrap();
}
