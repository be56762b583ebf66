//! The store behind a pooler in transaction mode: PgBouncer, with a separate PostgreSQL in tests that switch servers.

use devstack::PgBouncer;
use futures_util::future::join_all;
use shared::store::Pooler;

use crate::prelude::*;
use crate::standby::{read_only, until_refused};

/// A trigger that records the settings of each inserting transaction in a table; the server's own settings differ.
const WATCH: &str = "CREATE TABLE seen (statement text, lock text, idle text, synchronous text);
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO seen VALUES (current_setting('statement_timeout'), current_setting('lock_timeout'),
        current_setting('idle_in_transaction_session_timeout'), current_setting('synchronous_commit'));
      RETURN NULL; END $$;
    CREATE TRIGGER look AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION look()";

/// A store behind a pooler with this number of server connections and of client connections.
pub(crate) async fn pooled(kit: &Kit, connections: u32, clients: u32) -> (PgBouncer, Store) {
    let direct = kit.scope.database_url.clone();
    let port = devstack::port::of(&direct).unwrap();
    let bouncer = blocking(move || PgBouncer::start(port, connections).unwrap()).await;
    let store = open(&bouncer.url(&direct).unwrap(), clients, Duration::from_secs(5));
    (bouncer, store)
}

fn open(url: &str, clients: u32, timeout: Duration) -> Store {
    let mut config = postgres(url);
    (config.pooler, config.max_connections, config.timeout) = (Pooler::Transaction, clients, timeout);
    Store::open(&config, "test").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_two_connections_and_each_transaction_has_its_limits() {
    let kit = Kit::new("pooler").await;
    psql(&kit.scope.database_url, WATCH).unwrap();
    let database = kit.scope.database_url.rsplit_once('/').unwrap().1;
    psql(&kit.scope.database_url, &format!("ALTER DATABASE \"{database}\" SET synchronous_commit = off")).unwrap();
    let (bouncer, store) = pooled(&kit, 2, 20).await;
    store.check().await.unwrap();
    // Each client runs all operations concurrently with the others: a statement that outlived its transaction would
    // meet another server connection.
    let work = (0..20).map(async |n: i64| {
        let device = format!("d{n}");
        for round in 0..5 {
            let (first, second) =
                (event(&device, &round.to_string(), "{}", at(0, 2 * round)), event(&device, "x", "{}", at(0, 1)));
            let applied = queries::apply_batch(&store, &[&first, &second]).await.unwrap();
            assert_eq!(applied.fences.len(), 1, "{device}");
            assert!(queries::resource(&store, &id(&device)).await.unwrap().is_some());
            assert_eq!(queries::load(&store, &[device.as_str().into(), "nobody".into()]).await.unwrap().len(), 1);
            assert!(!queries::history(&store, &id(&device), 10, &Default::default()).await.unwrap().items.is_empty());
            assert_eq!(queries::list(&store, &device, "", 1).await.unwrap().items.len(), 1);
            let asked = [(device.clone(), round.to_string()), (device.clone(), "no\0".to_owned())];
            assert_eq!(queries::JOURNAL.outcomes(&store, &asked).await.unwrap().len(), 1);
            assert!(!store.is_paused("g", "t", 0).await.unwrap());
        }
    });
    join_all(work).await;
    assert_eq!(kit.number("SELECT count(*) FROM events").await, 20 * 6);
    assert_eq!(kit.number("SELECT count(*) FROM resources").await, 20);
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'test'";
    assert!(kit.number(sessions).await <= 2, "the pooler's own");
    let others = "SELECT count(*) FROM seen WHERE (statement, lock, idle, synchronous) <> ('4s', '4s', '4s', 'on')";
    assert_eq!((kit.number(others).await, kit.number("SELECT count(*) FROM seen").await > 0), (0, true));

    // A pause, an erasure and an expiry.
    store.pause("g", "t", 0, "why").await.unwrap();
    assert!(store.is_paused("g", "t", 0).await.unwrap());
    assert_eq!(store.resume("g", None).await.unwrap(), [("t".to_owned(), 0)]);
    assert_eq!(queries::erase(&store, &id("d0"), None).await.unwrap().events, 6);
    assert_eq!(queries::resource(&store, &id("d0")).await.unwrap(), None);
    let expired = queries::expire(&store, Age::Written, Duration::ZERO, 1_000).await.unwrap();
    assert!(matches!(expired, Expired::Rows { rows: 114, more: false, .. }), "19 devices: {expired:?}");

    // The connections have no leftovers: no prepared statement, no transaction, no setting.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    assert_eq!(kit.number(left).await, 0);
    let by_pooler = bouncer.url(&kit.scope.database_url).unwrap();
    for _ in 0..4 {
        let found =
            psql(&by_pooler, "SELECT count(*), current_setting('statement_timeout') FROM pg_prepared_statements");
        assert_eq!(found.unwrap(), "0|0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_or_is_given_up_leaves_no_transaction_behind() {
    let kit = Kit::new("pooler_fails").await;
    let (_bouncer, store) = pooled(&kit, 1, 4).await;
    write(&store, "a", 1).await.unwrap();

    // An event that PostgreSQL rejects.
    kit.sql("ALTER TABLE events ADD CONSTRAINT no CHECK (event_id <> 'no')").await;
    let error = queries::apply_batch(&store, &[&event("a", "no", "{}", at(0, 2))]).await.unwrap_err();
    assert_eq!(error.class, Class::Failed, "{error}");
    assert_eq!(queries::resource(&store, &id("a")).await.unwrap().unwrap().version, 1);

    // A locked table: the server's timeout is the first, and its error is reported.
    let lock = kit.pool.begin_with("BEGIN; LOCK TABLE resources IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let began = Instant::now();
    let error = write(&store, "a", 3).await.unwrap_err();
    assert!(error.reason.contains("SQLSTATE 55P03") || error.reason.contains("SQLSTATE 57014"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // A query whose caller gave up.
    let given_up = tokio::time::timeout(Duration::from_millis(300), queries::resource(&store, &id("a"))).await;
    assert!(given_up.is_err());
    lock.rollback().await.unwrap();
    eventually("the one connection is free", async || queries::resource(&store, &id("a")).await.is_ok()).await;
    let applied = write(&store, "a", 4).await.unwrap();
    assert_eq!(applied.fences, [(id("a").cache_key(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_is_led_to_a_standby_is_noticed_in_each_transaction() {
    let primary = blocking(Postgres::start).await.unwrap();
    let name = Proxy::to(primary.port).unwrap();
    let port = name.port;
    let bouncer = blocking(move || PgBouncer::start(port, 2)).await.unwrap();
    Store::open(&postgres(&primary.url()), "test").unwrap().migrate(&[queries::INDEXES]).await.unwrap();
    let store = open(&bouncer.url(&primary.url()).unwrap(), 4, Duration::from_secs(5));
    write(&store, "a", 1).await.unwrap();
    let standby = blocking(move || primary.standby(Duration::from_secs(3600)).map(|standby| (primary, standby)));
    let (_primary, standby) = standby.await.unwrap();
    write(&store, "a", 2).await.unwrap();
    name.lead_to(standby.port);
    name.drop_connections();
    // The connections to the pooler are the same, but lead to another server.
    let is_told = async || match queries::resource(&store, &id("a")).await {
        Ok(found) => panic!("a standby was read: {found:?}"),
        Err(error) => error.class == Class::Outage && error.reason.contains("it accepts no writes: it is a standby"),
    };
    eventually("it is refused as a standby", is_told).await;
    let error = write(&store, "a", 3).await.unwrap_err();
    assert_eq!(error.class, Class::Outage, "{error}");
    let promoted = blocking(move || standby.promote().map(|()| standby)).await;
    eventually("it serves", async || queries::resource(&store, &id("a")).await.is_ok()).await;
    // A read-only server, such as the old side of a switchover, is rejected too.
    let promoted = promoted.unwrap();
    let expected = "it accepts no writes: transaction_read_only is on";
    let url = promoted.url();
    // A connection in constant use is not checked in between, but its next transaction is refused at its beginning.
    let read = async || queries::resource(&store, &id("a")).await;
    let (error, ()) = tokio::join!(until_refused(read), read_only(&url, true));
    let error = error.expect("it is read for ever");
    assert!(error.class == Class::Outage && error.reason.starts_with("PostgreSQL at "), "{error}");
    assert!(error.reason.ends_with(expected), "{error}");
    let error = write(&store, "a", 4).await.unwrap_err();
    assert!(error.class == Class::Outage && error.reason.contains(expected), "{error}");
    drop(promoted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pooler_needs_is_said() {
    let kit = Kit::new("pooler_said").await;
    let (bouncer, store) = pooled(&kit, 2, 2).await;
    let error = store.migrate(&[queries::INDEXES]).await.unwrap_err().to_string();
    assert!(error.contains("migrations need sessions") && error.contains("DATABASE_POOLER=transaction"), "{error}");
    // A store without the pooler setting.
    let config = postgres(&bouncer.url(&kit.scope.database_url).unwrap());
    let unaware = Store::open(&config, "test").unwrap();
    let server = format!("no connection to PostgreSQL at 127.0.0.1:{}: ", bouncer.port);
    for error in [
        unaware.check().await.unwrap_err().to_string(),
        unaware.migrate(&[queries::INDEXES]).await.unwrap_err().to_string(),
    ] {
        assert!(error.starts_with(&server) && error.contains("unsupported startup parameter"), "{error}");
        assert!(error.ends_with("a pooler in transaction mode needs DATABASE_POOLER=transaction"), "{error}");
    }
}
