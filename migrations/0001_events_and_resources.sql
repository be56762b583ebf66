-- What happened: one row an event, and what makes redelivery harmless.
CREATE TABLE events (
    device_id   text        NOT NULL,
    event_id    text        NOT NULL,
    type        text        NOT NULL,
    payload     jsonb       NOT NULL,
    user_id     text,
    request_id  text,
    accepted_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- Where in the log it stands; for a redriven record, where it first stood.
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    "offset"    bigint      NOT NULL,
    appended_at timestamptz NOT NULL,
    -- 'superseded': it came behind a newer state, is recorded here, and changed nothing else.
    outcome     text        NOT NULL CHECK (outcome IN ('applied', 'superseded')),
    PRIMARY KEY (device_id, event_id)
);

-- A device's history, newest first.
CREATE INDEX events_history ON events (device_id, accepted_at DESC, event_id DESC);
-- Old events are pruned in chunks by age; rows lie nearly in that order, so BRIN is enough.
CREATE INDEX events_accepted_at ON events USING brin (accepted_at);

-- The latest state: one row a device.
CREATE TABLE resources (
    id          text        PRIMARY KEY,
    payload     jsonb       NOT NULL,
    -- The number of events applied.
    version     bigint      NOT NULL CHECK (version > 0),
    event_id    text        NOT NULL,
    accepted_at timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    -- The position that this state came from.
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    "offset"    bigint      NOT NULL,
    appended_at timestamptz NOT NULL
);

-- Partitions that ran out of their ration of dead letters wait here for `worker-service resume`.
CREATE TABLE paused_partitions (
    consumer_group text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    reason         text        NOT NULL,
    paused_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
);
