//! A database with a handler's tables, and their content.

use std::fmt::Debug;

use shared::cache::{Cache, CacheKey, Fence, Fencer, Loaded};
use shared::store::Class;
use sqlx::AssertSqlSafe;
use time::format_description::well_known::Rfc3339;
use worker_service::consumer::apply::Applier;
use worker_service::consumer::handler::Applied;
use worker_service::scheduler::Task;

use super::Subject;
use crate::prelude::*;

pub(super) struct World<H: Handler> {
    kit: Kit,
    applier: Applier<H>,
    pub(super) touches: fn(&Delivery<H::Event>) -> Vec<CacheKey>,
    given: &'static str,
    began: OffsetDateTime,
}

/// The rows of each table.
pub(super) type Rows = BTreeMap<String, Vec<String>>;

/// The version of each cache entry, by key.
pub(super) fn versions(fences: &[Fence]) -> BTreeMap<String, i64> {
    fences.iter().map(|(key, version)| (key.to_string(), *version)).collect()
}

/// When a UUIDv7 was made, to the millisecond above.
fn time_of_id(text: &str) -> Option<OffsetDateTime> {
    let (first, rest) = text.split_once('-').filter(|_| text.len() == 36)?;
    let (second, rest) = rest.split_once('-').filter(|(_, rest)| rest.starts_with('7'))?;
    let millis = i128::from_str_radix(&format!("{first}{second}"), 16).ok().filter(|_| rest.contains('-'))?;
    OffsetDateTime::from_unix_timestamp_nanos((millis + 1) * 1_000_000).ok()
}

/// A row without one of its columns.
fn without(row: &str, column: &str) -> String {
    let mut row: Value = serde_json::from_str(row).unwrap();
    row.as_object_mut().unwrap().remove(column);
    row.to_string()
}

impl<H: Handler<Event: Clone + Debug>> World<H> {
    /// Also returns the logs of the subject.
    pub(super) async fn new(name: &str, subject: Subject<H>) -> (Self, Vec<Vec<Delivery<H::Event>>>) {
        let (logs, touches, given) = (subject.logs(), subject.touches, subject.given);
        let kit = Kit::new(name, 1).await;
        let cache = Cache::open(&run_config(&kit.scope).stores.redis, &[]).unwrap();
        let applier = Applier::new((subject.handler)(&kit), kit.store.clone(), Fencer::new(cache, kit.store.clone()));
        (Self { kit, applier, touches, given, began: OffsetDateTime::now_utc() }, logs)
    }

    pub(super) async fn clear(&self) {
        let tables = self.tables().await.join(", ");
        self.kit.sql(AssertSqlSafe(format!("TRUNCATE {tables}; {}", self.given))).await;
    }

    pub(super) async fn apply(&self, batch: &[Delivery<H::Event>]) -> Applied {
        self.try_apply(batch).await.unwrap()
    }

    pub(super) async fn try_apply(&self, batch: &[Delivery<H::Event>]) -> Result<Applied, Failure> {
        let task = |delivery: &Delivery<_>| Task {
            record: Record::new(None, None, &[]),
            delivery: delivery.clone(),
            attempts: 0,
        };
        let batch: Vec<_> = batch.iter().map(task).collect();
        loop {
            match self.applier.write(&batch).await {
                Err(Failure { class: Class::Again, .. }) => {}
                outcome => return outcome,
            }
        }
    }

    pub(super) async fn tables(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '^_' ORDER BY 1",
        )
        .fetch_all(&self.kit.pool)
        .await
        .unwrap()
    }

    /// All rows without the times at which they were written, and the ids that were made then.
    pub(super) async fn rows(&self) -> Rows {
        let mut all = Rows::new();
        for table in self.tables().await {
            let query = AssertSqlSafe(format!("SELECT to_jsonb(r)::text FROM {table} AS r"));
            let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(&self.kit.pool).await.unwrap();
            let mut rows: Vec<_> = rows.iter().map(|row| self.without_times(row)).collect();
            if table == "outbox" {
                // Across aggregates, events have no order.
                rows.iter_mut().for_each(|row| *row = without(row, "id"));
            }
            rows.sort();
            all.insert(table, rows);
        }
        all
    }

    fn without_times(&self, row: &str) -> String {
        let mut row: Value = serde_json::from_str(row).unwrap();
        self.blind(&mut row);
        row.to_string()
    }

    fn blind(&self, value: &mut Value) {
        match value {
            Value::Object(members) => members.values_mut().for_each(|member| self.blind(member)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.blind(item)),
            Value::String(text) => {
                let time = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| time_of_id(text));
                if time.is_some_and(|time| time >= self.began) {
                    *value = "now".into();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The versions in PostgreSQL of all existing cache entries that these events affect.
    pub(super) async fn cached(&self, events: &[Delivery<H::Event>]) -> BTreeMap<String, i64> {
        self.loaded(events).await.into_iter().map(|(key, loaded)| (key, loaded.version)).collect()
    }

    /// The same with versions and bodies, without the times at which they were written.
    pub(super) async fn states(&self, events: &[Delivery<H::Event>]) -> BTreeMap<String, (i64, String)> {
        let state = |loaded: Loaded| (loaded.version, self.without_times(&loaded.body));
        self.loaded(events).await.into_iter().map(|(key, loaded)| (key, state(loaded))).collect()
    }

    async fn loaded(&self, events: &[Delivery<H::Event>]) -> BTreeMap<String, Loaded> {
        let mut all = BTreeMap::new();
        for key in events.iter().flat_map(self.touches) {
            for loaded in (key.kind().load)(&self.kit.store, &[key.id().clone()]).await.unwrap() {
                all.insert(CacheKey::new(key.kind(), loaded.id.clone()).to_string(), loaded);
            }
        }
        all
    }

    /// Makes writes to a table fail, at each row or at the commit.
    pub(super) async fn refuse(&self, table: &str, at_commit: bool) {
        let when = if at_commit { "CONSTRAINT TRIGGER refuse AFTER" } else { "TRIGGER refuse BEFORE" };
        let deferred = if at_commit { "DEFERRABLE INITIALLY DEFERRED" } else { "" };
        let trigger = format!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
             CREATE {when} INSERT OR UPDATE OR DELETE ON {table} {deferred} FOR EACH ROW EXECUTE FUNCTION refuse()"
        );
        self.kit.sql(AssertSqlSafe(trigger)).await;
    }

    pub(super) async fn refuse_no_more(&self, table: &str) {
        self.kit.sql(AssertSqlSafe(format!("DROP TRIGGER refuse ON {table}"))).await;
    }
}
