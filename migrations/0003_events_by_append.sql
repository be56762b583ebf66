-- Old events are pruned by the time of their append, which is the broker's clock: when an event was
-- accepted is what its producer says. Rows lie nearly in that order, so BRIN is enough. The index on
-- accepted_at stays for workers of before.
CREATE INDEX events_appended_at ON events USING brin (appended_at);
