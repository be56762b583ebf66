//! The session defaults of a role or a database do not affect the store's guarantees, with and without a pooler in
//! transaction mode.

use shared::kafka::position::Position;

use crate::pooler::pooled;
use crate::prelude::*;

/// Settings that an operator may have changed for other programs, and that conflict with the store's needs.
const ODD: [(&str, &str); 15] = [
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("synchronous_commit", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("\"DateStyle\"", "'German, DMY'"),
    ("\"IntervalStyle\"", "sql_standard"),
    ("\"TimeZone\"", "'Asia/Tokyo'"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("client_encoding", "LATIN1"),
];

/// Triggers that record the settings of each statement that changes a table.
const WATCH: &str = "CREATE TABLE seen (isolation text, synchronous text);
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO seen VALUES (current_setting('transaction_isolation'), current_setting('synchronous_commit'));
      RETURN NULL; END $$;
    CREATE TRIGGER look AFTER INSERT OR UPDATE OR DELETE ON events FOR EACH STATEMENT EXECUTE FUNCTION look();
    CREATE TRIGGER look AFTER INSERT OR UPDATE OR DELETE ON resources FOR EACH STATEMENT EXECUTE FUNCTION look();
    CREATE TRIGGER look AFTER INSERT OR UPDATE OR DELETE ON paused_partitions
      FOR EACH STATEMENT EXECUTE FUNCTION look()";

/// Sets the odd values for the database, and for the role in this database, which has priority.
fn set_odd(kit: &Kit) {
    let database = kit.scope.database_url.rsplit_once('/').unwrap().1;
    let role = psql(&kit.scope.database_url, "SELECT quote_ident(current_user)").unwrap();
    for (name, value) in ODD {
        psql(&kit.scope.database_url, &format!("ALTER DATABASE \"{database}\" SET {name} = {value}")).unwrap();
        let of_role = format!("ALTER ROLE {role} IN DATABASE \"{database}\" SET {name} = {value}");
        psql(&kit.scope.database_url, &of_role).unwrap();
    }
    let found = psql(&kit.scope.database_url, "SELECT current_setting('transaction_isolation')").unwrap();
    assert_eq!(found, "serializable", "they count for whoever connects now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_and_a_database_with_defaults_of_their_own_change_nothing() {
    let kit = Kit::new("defaults").await;
    kit.apply([&event("a", "1", r#"{"x":0.1,"ü":"é"}"#, at(0, 1))]).await;
    let plain = queries::resource(&kit.store, &id("a")).await.unwrap().unwrap();
    let history = queries::history(&kit.store, &id("a"), 10, &Default::default()).await.unwrap().items;
    set_odd(&kit);
    psql(&kit.scope.database_url, WATCH).unwrap();
    let direct = kit.reopened();
    let (_bouncer, behind) = pooled(&kit, 2, 4).await;
    for (n, store) in [(0, &direct), (1, &behind)] {
        store.check().await.unwrap();
        assert_eq!(queries::resource(store, &id("a")).await.unwrap().unwrap(), plain, "equal versions are equal bytes");
        assert_eq!(queries::history(store, &id("a"), 10, &Default::default()).await.unwrap().items, history);
        everything(store, &format!("d{n}"), at(0, 10)).await;
        let seen = psql(&kit.scope.database_url, "SELECT count(*) > 4 FROM seen").unwrap();
        assert_eq!(seen, "t");
        let found = psql(&kit.scope.database_url, "SELECT DISTINCT seen FROM seen").unwrap();
        assert_eq!(found, "(\"read committed\",on)", "store {n}");
        psql(&kit.scope.database_url, "TRUNCATE seen").unwrap();
    }
}

/// Runs all writing operations, the applies concurrently: a stricter isolation level would make some fail.
async fn everything(store: &Store, device: &str, place: Position) {
    let events: Vec<_> = (0..8).map(|n| event(device, &n.to_string(), "{}", at(0, place.offset + n))).collect();
    let one_by_one = events.iter().map(async |event| {
        let done = eventually("it is applied", async || match queries::apply_batch(store, &[event]).await {
            Ok(applied) => !applied.fences.is_empty(),
            Err(error) => {
                assert_eq!(error.class, Class::Again, "{error}");
                false
            }
        });
        done.await;
    });
    futures_util::future::join_all(one_by_one).await;
    let version = queries::resource(store, &id(device)).await.unwrap().unwrap().version;
    // Events that a newer one overtook are superseded.
    assert!((1..=8).contains(&version), "{version}");
    store.pause("g", "t", 0, "why").await.unwrap();
    assert_eq!(store.resume("g", None).await.unwrap().len(), 1);
    let asked = [(device.to_owned(), "0".to_owned())];
    assert_eq!(queries::JOURNAL.outcomes(store, &asked).await.unwrap().len(), 1);
    assert_eq!(queries::erase(store, &id(device), None).await.unwrap().events, 8);
    let expired = queries::expire(store, Age::Written, Duration::from_secs(3_600), 1_000).await.unwrap();
    assert!(matches!(expired, Expired::Rows { rows: 0, .. }), "{expired:?}");
}
