//! The model's bytes beside those of real records, tables and entries.

use std::time::Duration;

use devstack::{Scope, psql};
use shared::devices::queries;
use shared::kafka::{Outgoing, each_header};
use shared::runtime::config::Secret;
use shared::store::{Pooler, PostgresConfig, Store};

use super::*;
use crate::model::costs::Costs;
use crate::records;

const DEVICES: usize = 2_000;
const EVENTS: usize = 20_000;
const BATCH: usize = 1_000;
/// The payload of `records`.
const PAYLOAD: f64 = 100.0;

fn costs() -> Costs {
    let load = Load {
        devices: 1e4,
        events_per_second: 1.0,
        payload: PAYLOAD,
        events_per_request: 1.0,
        events_retention: 2e6,
        topic_retention: 1e6,
        reads: 0.0,
        impressions: 0.0,
        impressions_per_user: 2.0,
        peak: 1.0,
        core_speed: 1.0,
        server: Server { cores: 1.0, memory: GIB, disk: TIB },
    };
    Costs::of(&figures(), &load)
}

/// Enough, and not more than twice as much.
fn assert_near(what: &str, model: f64, real: f64) {
    assert!(
        model >= real * 0.95 && model <= real * 2.0,
        "{what}: the model has {model:.0} bytes, really it is {real:.0}"
    );
}

/// A record of an event that was posted with everything that a request may bring.
#[test]
fn a_record() {
    let Outgoing { envelope, source } = records::event(1, DEVICES, "0197a1b2-0000-7000-8000-000000000000").unwrap();
    let envelope = shared::kafka::Envelope {
        correlation_id: Some("0197a1b2-0000-7000-8000-000000000000".to_owned()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ..envelope
    };
    // Lengths, and what stands before a record.
    let mut bytes = envelope.key.to_string().len() + envelope.data.len() + 16;
    each_header(&Outgoing { envelope, source }, |name, value| bytes += name.len() + value.len() + 2);
    assert_near("a record", costs().record, crate::report::as_f64(bytes));
}

#[test]
fn rows_and_entries() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let scope = Scope::new("model-sizes").unwrap();
    let config = PostgresConfig {
        url: Secret::new(&scope.database_url),
        pooler: Pooler::None,
        max_connections: 2,
        timeout: Duration::from_secs(60),
    };
    let entry = runtime.block_on(async {
        let store = Store::open(&config, "test").unwrap();
        store.migrate(&[queries::INDEXES]).await.unwrap();
        for batch in 0..EVENTS / BATCH {
            let event = |n| records::decoded(n, DEVICES, 0, "0197a1b2-0000-7000-8000-000000000000").unwrap();
            let events: Vec<_> = (batch * BATCH..(batch + 1) * BATCH).map(event).collect();
            queries::apply_batch(&store, &events.iter().collect::<Vec<_>>()).await.unwrap();
        }
        let read = queries::resource(&store, &records::device(7).parse().unwrap()).await.unwrap().unwrap();
        let client = redis::Client::open(scope.endpoints.redis_url.as_str()).unwrap();
        let mut redis = client.get_multiplexed_async_connection().await.unwrap();
        let key = format!("resource:{}", read.id);
        let key = format!("{}{key}", scope.cache_prefix);
        redis::cmd("SET").arg(&key).arg(&read.body).arg("EX").arg(60).exec_async(&mut redis).await.unwrap();
        let bytes: f64 = redis::cmd("MEMORY").arg("USAGE").arg(&key).query_async(&mut redis).await.unwrap();
        // What the prefix of this test adds, and the entry of its expiry, which is not counted.
        let prefix = crate::report::as_f64(scope.cache_prefix.len());
        store.close().await;
        bytes - prefix + 32.0
    });
    let sizes = "SELECT pg_table_size('events'), pg_indexes_size('events'), pg_total_relation_size('resources')";
    // Without the versions of before, but for one of each: in the long run autovacuum has their room used again.
    psql(&scope.database_url, "VACUUM FULL resources").unwrap();
    let sizes = psql(&scope.database_url, sizes).unwrap();
    let [table, indexes, resources] =
        sizes.trim().split('|').map(|bytes| bytes.parse::<f64>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("{sizes}")
    };
    let (events, devices) = (crate::report::as_f64(EVENTS), crate::report::as_f64(DEVICES));
    let costs = costs();
    assert_near("a row of events", costs.row, table / events);
    assert_near("its indexes", costs.index, indexes / events);
    assert_near("a resource", costs.resource, 2.0 * resources / devices);
    assert_near("an entry of Redis", costs.entry, entry);
}
