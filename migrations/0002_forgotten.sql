-- Devices that were erased with `worker-service forget`. What was accepted or appended up to then has
-- no effect any more, however often its records are read again; what comes later is a new life.
-- A row stays: the dead-letter topic keeps its records for ever.
CREATE TABLE forgotten_devices (
    device_id    text        PRIMARY KEY,
    forgotten_at timestamptz NOT NULL
);
