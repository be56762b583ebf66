//! Events that PostgreSQL refuses.

use crate::prelude::*;

impl Kit {
    /// Makes a device's events fail, as any trigger in the database could.
    pub(crate) async fn refuse(&self, device: &str) {
        self.refuse_with(device, "P0001").await;
    }

    /// Makes PostgreSQL refuse the events of a device (`%`: of all devices), or events with such an id, with this
    /// SQLSTATE. The trigger notes the time of each attempt in sequences, which survive the rollback. Instead of a
    /// code, `sleep` takes too long, `end` ends the session, and `crash` crashes its backend.
    pub(crate) async fn refuse_with(&self, device: &str, sqlstate: &str) {
        self.sql(
            "CREATE TABLE IF NOT EXISTS refused (device_id text PRIMARY KEY, sqlstate text NOT NULL);
             CREATE SEQUENCE IF NOT EXISTS count_of_tries;
             DO $$ BEGIN FOR n IN 1..20 LOOP
               EXECUTE 'CREATE SEQUENCE IF NOT EXISTS try_' || n; END LOOP; END $$;
             CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE state text; try bigint; BEGIN
               SELECT sqlstate INTO state FROM refused
                 WHERE NEW.device_id LIKE device_id OR NEW.event_id LIKE device_id LIMIT 1;
               IF NOT FOUND THEN RETURN NEW; END IF;
               try := nextval('count_of_tries');
               IF try <= 20 THEN
                 PERFORM setval('try_' || try, (extract(epoch FROM clock_timestamp()) * 1000)::bigint);
               END IF;
               IF state = 'sleep' THEN PERFORM pg_sleep(600); END IF;
               IF state = 'crash' THEN
                 EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -SEGV ' || pg_backend_pid());
                 PERFORM pg_sleep(600);
               END IF;
               IF state = 'end' THEN
                 PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(600);
               END IF;
               RAISE EXCEPTION 'refused' USING ERRCODE = state; END $$;
             CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
        let query = sqlx::query("INSERT INTO refused VALUES ($1, $2)").bind(device).bind(sqlstate);
        query.execute(&self.pool).await.unwrap();
    }

    /// The times of attempts at refused events, in milliseconds since the first one.
    pub(crate) async fn tries(&self) -> Vec<i64> {
        let all: Vec<i64> = sqlx::query_scalar(
            "SELECT last_value FROM pg_sequences WHERE sequencename LIKE 'try%' AND last_value IS NOT NULL ORDER BY 1",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        all.iter().map(|at| at - all[0]).collect()
    }

    pub(crate) async fn no_longer_refuse(&self, device: &str) {
        sqlx::query("DELETE FROM refused WHERE device_id = $1").bind(device).execute(&self.pool).await.unwrap();
    }
}
