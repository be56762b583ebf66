//! After a failover the host name of PostgreSQL leads to a standby for a while: its stale data is neither returned nor
//! cached.

use shared::store::Failure;
use tokio::time::error::Elapsed;

use crate::prelude::*;

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> T {
    devstack::kit::blocking(work).await.unwrap()
}

#[tokio::test]
async fn a_connection_that_leads_to_a_standby_is_refused_and_one_to_its_successor_is_not() {
    let primary = blocking(Postgres::start).await;
    let (name, url) = Proxy::before(&primary.url()).unwrap();
    let config = postgres(&url);
    let store = Store::open(&config, "test").unwrap();
    store.migrate(&[queries::INDEXES]).await.unwrap();
    write(&store, "a", 1).await.unwrap();
    // The standby stays an hour behind.
    let standby = blocking(move || primary.standby(Duration::from_secs(3600)).map(|standby| (primary, standby)));
    let (primary, standby) = standby.await;
    write(&store, "a", 2).await.unwrap();
    let lagging = psql(&standby.url(), "SELECT version FROM resources").unwrap();
    assert_eq!(lagging, "1", "it is behind");

    // The host name leads to the standby, and the connections to the old primary are closed.
    name.lead_to(standby.port);
    name.drop_connections();
    for _ in 0..3 {
        let error = queries::resource(&store, &id("a")).await.unwrap_err();
        // The first query may have got a connection that had just been closed.
        if !error.reason.contains("it accepts no writes") {
            assert_eq!(error.class, Class::Outage, "{error}");
        }
    }
    let error = queries::resource(&store, &id("a")).await.unwrap_err();
    let expected = format!("no connection to PostgreSQL at 127.0.0.1:{}: ", name.port);
    assert!(error.reason.starts_with(&expected) && error.reason.contains("it accepts no writes"), "{error}");
    assert_eq!(error.class, Class::Outage);
    let error = write(&store, "a", 3).await.unwrap_err();
    assert!(error.reason.contains("it accepts no writes"), "{error}");

    let standby = blocking(move || {
        primary.kill()?;
        standby.promote()?;
        Ok(standby)
    })
    .await;
    eventually("it serves", async || queries::resource(&store, &id("a")).await.is_ok()).await;
    assert_eq!(queries::resource(&store, &id("a")).await.unwrap().unwrap().version, 2, "all that it got is applied");
    let applied = write(&store, "a", 3).await.unwrap();
    assert_eq!(applied.fences, [(id("a").cache_key(), 3)]);
    drop(standby);
}

/// Makes a server read-only for new transactions, or writable again.
pub(crate) async fn read_only(url: &str, on: bool) {
    let url = url.to_owned();
    blocking(move || {
        let value = if on { "SET default_transaction_read_only = on" } else { "RESET default_transaction_read_only" };
        psql(&url, &format!("ALTER SYSTEM {value}"))?;
        psql(&url, "SELECT pg_reload_conf()")
    })
    .await;
}

/// Reads repeatedly, so that the connection is never idle, until a read is refused.
pub(crate) async fn until_refused<T>(read: impl AsyncFn() -> Result<T, Failure>) -> Result<Failure, Elapsed> {
    let refused = async {
        loop {
            if let Err(error) = read().await {
                break error;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), refused).await
}

/// The old side of a switchover is not a standby, but refuses writes. Every kind of read notices that on a connection
/// in constant use, and a new connection is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_set_to_read_only_is_not_read_on_connections_of_before_either() {
    const REFUSED: &str = "it accepts no writes: transaction_read_only is on";
    let (old, new) = blocking(|| Ok((Postgres::start()?, Postgres::start()?))).await;
    let (name, url) = Proxy::before(&old.url()).unwrap();
    let mut config = postgres(&url);
    config.max_connections = 1;
    let store = Store::open(&config, "test").unwrap();
    let green = Store::open(&postgres(&new.url()), "test").unwrap();
    for store in [&store, &green] {
        store.migrate(&[queries::INDEXES]).await.unwrap();
        write(store, "a", 1).await.unwrap();
    }
    write(&green, "a", 2).await.unwrap();

    for what in [
        "a resource",
        "one that is not there",
        "several",
        "a history",
        "a history that is empty",
        "a list",
        "a list that is empty",
        "a check",
    ] {
        eventually(what, async || queries::resource(&store, &id("a")).await.is_ok()).await;
        let read = async || match what {
            "a resource" => queries::resource(&store, &id("a")).await.map(drop),
            "one that is not there" => queries::resource(&store, &id("nobody")).await.map(drop),
            "several" => queries::load(&store, &["nobody".into(), "a".into()]).await.map(drop),
            "a history" => queries::history(&store, &id("a"), 10, &Default::default()).await.map(drop),
            "a history that is empty" => {
                queries::history(&store, &id("nobody"), 10, &Default::default()).await.map(drop)
            }
            "a list" => queries::list(&store, "", "", 10).await.map(drop),
            "a list that is empty" => queries::list(&store, "nobody", "", 10).await.map(drop),
            _ => store.check().await,
        };
        let old = old.url();
        let (error, ()) = tokio::join!(until_refused(read), read_only(&old, true));
        let error = error.unwrap_or_else(|_| panic!("{what} is read for ever")).reason;
        assert!(error.starts_with("PostgreSQL at ") && error.ends_with(REFUSED), "{what}: {error}");
        // The connection is closed, and a new one is refused; so is a write.
        let error = write(&store, "a", 3).await.unwrap_err();
        assert!(error.reason.ends_with(REFUSED), "{error}");
        let error = queries::resource(&store, &id("a")).await.unwrap_err();
        assert!(error.reason.starts_with("no connection to PostgreSQL at "), "{error}");
        assert!(error.reason.ends_with(REFUSED) && error.class == Class::Outage, "{error}");
        let error = store.migrate(&[queries::INDEXES]).await.unwrap_err().to_string();
        assert!(error.ends_with(REFUSED), "{error}");
        read_only(&old, false).await;
    }
    read_only(&old.url(), true).await;
    name.lead_to(new.port);
    eventually("the new one is read", async || queries::resource(&store, &id("a")).await.is_ok()).await;
    assert_eq!(queries::resource(&store, &id("a")).await.unwrap().unwrap().version, 2);
}

/// A connection needs three answers, which together take longer than a caller waits for a connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_slow_to_answer_gets_its_connections_all_the_same() {
    let server = blocking(Postgres::start).await;
    let (slow, url) = Proxy::before(&server.url()).unwrap();
    let mut config = postgres(&url);
    config.timeout = Duration::from_secs(5);
    Store::open(&config, "test").unwrap().migrate(&[queries::INDEXES]).await.unwrap();
    for answer in [Duration::from_millis(600), Duration::from_millis(800)] {
        let store = Store::open(&config, "test").unwrap();
        slow.slow(answer / 2);
        eventually("it is read", async || queries::resource(&store, &id("a")).await.is_ok()).await;
        slow.mend();
    }
}

/// Existing connections are cut silently, while new ones work. After the first failed check all idle ones are closed;
/// and the error for those in use does not look like a pool that is too small.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fell_silent_are_told_from_a_pool_that_is_too_small() {
    let server = blocking(Postgres::start).await;
    let (way, url) = Proxy::before(&server.url()).unwrap();
    let mut config = postgres(&url);
    (config.timeout, config.max_connections) = (Duration::from_secs(5), 4);
    let store = Store::open(&config, "test").unwrap();
    store.migrate(&[queries::INDEXES]).await.unwrap();
    let all = async || {
        let ids: Vec<_> = (0..4).map(|n| id(&format!("d{n}"))).collect();
        futures_util::future::join_all(ids.iter().map(|id| queries::resource(&store, id))).await
    };
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test'";
    eventually("all are made", async || {
        all().await;
        psql(&server.url(), connections).unwrap() == "4"
    })
    .await;
    // In use: each query times out, and a caller that waits for a connection gets the reason.
    way.silence_connections();
    let (first, late) = tokio::join!(all(), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        queries::resource(&store, &id("late")).await.unwrap_err().reason
    });
    for outcome in first {
        assert!(outcome.unwrap_err().reason.contains("no answer within 5s"));
    }
    let expected = "all of DATABASE_MAX_CONNECTIONS are in use, and the answers on 4 of them are overdue";
    assert!(late.contains(expected), "{late}");
    // Idle: the check of the first one takes a second, and the others are closed without a check.
    eventually("all are made anew", async || {
        all().await;
        psql(&server.url(), connections).unwrap().parse::<u32>().unwrap() >= 4
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    way.silence_connections();
    let found = queries::resource(&store, &id("a")).await;
    assert_eq!(found.unwrap(), None, "by a connection that is new, within the time that one is waited for");
}

#[tokio::test]
async fn why_there_is_no_connection_is_told_with_the_server() {
    let open = |url: &str| {
        let mut config = postgres(url);
        // More than twice the time that a caller waits for a connection.
        config.timeout = Duration::from_secs(5);
        config.max_connections = 1;
        Store::open(&config, "test").unwrap()
    };
    let port = devstack::port::free();
    let store = open(&format!("postgres://postgres@127.0.0.1:{port}/postgres"));
    let error = queries::resource(&store, &id("a")).await.unwrap_err().reason;
    assert!(error.starts_with(&format!("no connection to PostgreSQL at 127.0.0.1:{port}: ")), "{error}");
    assert!(error.contains("refused"), "{error}");

    let server = blocking(Postgres::start).await;
    let (silent, url) = Proxy::before(&server.url()).unwrap();
    silent.hold();
    let store = open(&url);
    let error = queries::resource(&store, &id("a")).await.unwrap_err().reason;
    assert!(error.ends_with(": no answer in time"), "{error}");
    silent.mend();

    let store = open(&format!("postgres://postgres@127.0.0.1:{}/nothing", server.port));
    let error = queries::resource(&store, &id("a")).await.unwrap_err().reason;
    assert!(error.contains("3D000") && error.contains("\"nothing\" does not exist"), "{error}");

    // All connections of the pool are in use.
    let store = open(&server.url());
    store.migrate(&[queries::INDEXES]).await.unwrap();
    let lock = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let lock = lock.begin_with("BEGIN; LOCK TABLE resources IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (a, b) = (id("a"), id("b"));
    let (first, second) = tokio::join!(queries::resource(&store, &a), queries::resource(&store, &b));
    let told = [first.unwrap_err().reason, second.unwrap_err().reason];
    assert!(told.iter().any(|told| told.contains("DATABASE_MAX_CONNECTIONS are in use")), "{told:?}");
    lock.rollback().await.unwrap();
}
