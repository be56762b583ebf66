-- Impressions that a campaign with `cap_unsure: allow` takes while nobody can tell how many its user had. They are in
-- no set of Redis, and until they are applied nothing else says that they were taken. Deleted after three days.
CREATE TABLE unsure_impressions (
    campaign_id bigint      NOT NULL,
    event_id    text        COLLATE "C" NOT NULL,
    taken_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, event_id)
);
CREATE INDEX unsure_impressions_taken ON unsure_impressions USING brin (taken_at);
