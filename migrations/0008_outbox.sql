-- What commands publish, what subscribers have taken, and the answers to commands: for every domain.

-- The last number of each aggregate. Its row is locked before a number is taken, and until the commit: so numbers,
-- outbox ids and commits of an aggregate rise together.
CREATE TABLE sequences (
    aggregate text   COLLATE "C" PRIMARY KEY,
    last      bigint NOT NULL CHECK (last >= 0)
) WITH (fillfactor = 70);

-- Events that are committed and not yet published. Rows are deleted once they are in the topic.
CREATE TABLE outbox (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id    uuid        NOT NULL,
    -- The record's key.
    aggregate   text        NOT NULL,
    sequence    bigint      NOT NULL CHECK (sequence > 0),
    type        text        NOT NULL,
    -- The other attributes of the CloudEvent, by name.
    attributes  jsonb       NOT NULL,
    -- The value, byte for byte.
    data        text        NOT NULL,
    written_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_vacuum_cost_limit = 1000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 1000
);

CREATE TABLE outbox_relay (
    name       text        PRIMARY KEY,
    -- Part of the transactional id: two stacks on one Kafka must not fence each other.
    identity   uuid        NOT NULL DEFAULT gen_random_uuid(),
    holder     text,
    held_until timestamptz NOT NULL DEFAULT '-infinity',
    -- By partition: what is before it is known to be gone from the outbox.
    offsets    jsonb       NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
INSERT INTO outbox_relay (name) VALUES ('outbox');

-- The events that a subscriber has taken.
CREATE TABLE inbox (
    subscriber  text        COLLATE "C" NOT NULL,
    event_id    text        COLLATE "C" NOT NULL,
    aggregate   text        COLLATE "C" NOT NULL,
    -- NULL: the record has no number, for it is not of the outbox.
    sequence    bigint,
    appended_at timestamptz NOT NULL,
    taken_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscriber, event_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 1000);
CREATE INDEX inbox_taken ON inbox USING brin (taken_at);

-- The answer to a command, by its Idempotency-Key. Written in the command's own transaction.
CREATE TABLE idempotency_keys (
    subject     text        COLLATE "C" NOT NULL,
    key         text        COLLATE "C" NOT NULL,
    fingerprint bytea       NOT NULL,
    -- Set before the commit, always.
    status      integer,
    headers     jsonb,
    body        text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subject, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);
CREATE INDEX idempotency_keys_created ON idempotency_keys USING brin (created_at);
