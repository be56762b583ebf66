-- The tables and indexes of devices as of bbf9d046, after its `worker-service setup`.
CREATE SCHEMA baseline;
SET search_path = baseline;

CREATE TABLE events (
    device_id   text        NOT NULL,
    event_id    text        NOT NULL,
    type        text        NOT NULL,
    payload     jsonb       NOT NULL,
    user_id     text,
    request_id  text,
    accepted_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    "offset"    bigint      NOT NULL,
    appended_at timestamptz NOT NULL,
    outcome     text        NOT NULL CHECK (outcome IN ('applied', 'superseded')),
    recorded_at timestamptz DEFAULT now(),
    PRIMARY KEY (device_id, event_id)
) WITH (
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
CREATE INDEX events_history ON events (device_id, accepted_at DESC, event_id DESC);
CREATE INDEX events_written ON events (recorded_at);
CREATE INDEX events_appended ON events (appended_at) WHERE recorded_at IS NULL;

CREATE TABLE resources (
    id          text        PRIMARY KEY,
    payload     jsonb       NOT NULL,
    version     bigint      NOT NULL CHECK (version > 0),
    event_id    text        NOT NULL,
    accepted_at timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    "offset"    bigint      NOT NULL,
    appended_at timestamptz NOT NULL
);
CREATE INDEX resources_listed ON resources (id COLLATE "C");

CREATE TABLE forgotten_devices (
    device_id    text        PRIMARY KEY,
    forgotten_at timestamptz NOT NULL,
    topic        text,
    end_offsets  bigint[]
);
