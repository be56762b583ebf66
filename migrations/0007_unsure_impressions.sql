-- Impressions that a campaign with `cap_unsure: allow` accepts while Redis cannot tell how many its user had. Redis
-- does not have their ids, and `ad_events` only once they are applied. Rows are deleted after three days.
CREATE TABLE unsure_impressions (
    campaign_id bigint      NOT NULL,
    event_id    text        COLLATE "C" NOT NULL,
    taken_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, event_id)
);
CREATE INDEX unsure_impressions_taken ON unsure_impressions USING brin (taken_at);
