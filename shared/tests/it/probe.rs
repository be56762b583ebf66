//! A probe meets the same errors as other transactions, and leaves no rows.

use shared::runtime::json::MAX_PAYLOAD_BYTES;

use crate::prelude::*;

#[tokio::test]
async fn it_meets_what_every_event_meets_and_leaves_no_row() {
    let kit = Kit::new("probe").await;
    for bytes in [0, 1_000, MAX_PAYLOAD_BYTES] {
        queries::probe(&kit.store, bytes).await.unwrap();
    }
    // Concurrent probes do not wait for each other.
    let (one, other) = tokio::join!(queries::probe(&kit.store, 10), queries::probe(&kit.store, 10));
    one.and(other).unwrap();
    let refused = async |make: &'static str, class, code: &str, mend: &'static str| {
        kit.sql(make).await;
        let error = queries::probe(&kit.store, 100).await.unwrap_err();
        assert!(error.class == class && error.reason.contains(code), "{make}: {error}");
        kit.sql(mend).await;
        queries::probe(&kit.store, 100).await.unwrap();
    };
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
                  AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '42501'; END $$;
                  CREATE TRIGGER refuse BEFORE INSERT ON resources FOR EACH ROW EXECUTE FUNCTION refuse()";
    refused(refuse, Class::OutageMet, "42501", "DROP TRIGGER refuse ON resources").await;
    let late = "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION refuse()";
    refused(late, Class::OutageMet, "42501", "DROP TRIGGER late ON events").await;
    let gone = "ALTER TABLE resources RENAME TO elsewhere";
    refused(gone, Class::OutageMet, "42P01", "ALTER TABLE elsewhere RENAME TO resources").await;
    let check = "ALTER TABLE resources ADD CONSTRAINT known CHECK (id NOT LIKE ' %')";
    refused(check, Class::Failed, "23514", "ALTER TABLE resources DROP CONSTRAINT known").await;

    let rows = kit.number("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM resources)").await;
    assert_eq!(rows, 0);
    // The connection still works.
    kit.write("a", 1).await;
}

/// A probe is rolled back, but its commit waits like every commit.
#[tokio::test]
async fn it_waits_for_a_synchronous_standby_as_everybody_does() {
    let server = blocking(Postgres::start).await.unwrap();
    let mut config = postgres(&server.url());
    config.timeout = Duration::from_secs(2);
    let store = Store::open(&config, "test").unwrap();
    store.migrate(&[queries::INDEXES]).await.unwrap();
    queries::probe(&store, 100).await.unwrap();
    let set = async |value: &str| {
        let (url, reload) = (server.url(), "SELECT pg_reload_conf()");
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{value}'");
        let both = move || psql(&url, &set).and_then(|_| psql(&url, reload));
        blocking(both).await.unwrap();
    };
    set("nobody").await;
    // The reload of the configuration takes a moment.
    let waits = async || queries::probe(&store, 100).await.is_err_and(|error| error.class == Class::OutageMet);
    eventually("a probe waits for it", waits).await;
    let error = write(&store, "a", 1).await.unwrap_err();
    assert_eq!(error.class, Class::OutageMet, "as an event does: {error}");
    set("").await;
    eventually("it goes on", async || queries::probe(&store, 100).await.is_ok()).await;
}
