-- `events` is written and expired all day: as many rows go as come. With the defaults a fifth of the table is dead before
-- a vacuum begins, and the table grows by that much; here it is a fiftieth, at a pace that keeps up with the expiry.
-- What a vacuum has passed is reused by what is written next. The lock keeps out other vacuums and changes of the
-- schema, and no reader or writer.
ALTER TABLE events SET (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 10000,
    autovacuum_vacuum_cost_limit = 1000,
    toast.autovacuum_vacuum_scale_factor = 0.02,
    toast.autovacuum_vacuum_threshold = 10000,
    toast.autovacuum_vacuum_insert_scale_factor = 0.02,
    toast.autovacuum_vacuum_insert_threshold = 10000,
    toast.autovacuum_vacuum_cost_limit = 1000
);

-- How far the expiry has come, so that whichever worker goes on with it does not look through what is gone already:
-- everything that was written before is.
CREATE TABLE event_expiry (
    age        text        PRIMARY KEY,
    position   timestamptz NOT NULL DEFAULT '-infinity',
    rewound_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO event_expiry (age) VALUES ('written'), ('appended');
