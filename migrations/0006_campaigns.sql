-- Advertising: campaigns and their money, the leases of it, the events, and the statistics.
--
-- Money is in nanos: billionths of the currency's unit. Whoever changes the money of a campaign or of one of its days
-- locks the campaign's row first.

CREATE TABLE campaigns (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The subject of the token that made it. NULL: it was made without a token.
    owner            text,
    -- The advertiser's own name for it: creating it again returns it.
    external_id      text,
    name             text        NOT NULL,
    pricing_model    text        NOT NULL CHECK (pricing_model IN ('cpm', 'cpc', 'cpa')),
    -- For a thousand impressions (cpm), a click (cpc) or a conversion (cpa).
    unit_price       bigint      NOT NULL CHECK (unit_price >= 0),
    currency         text        NOT NULL,
    total_budget     bigint      NOT NULL,
    daily_budget     bigint      CHECK (daily_budget BETWEEN 0 AND total_budget),
    -- The most impressions of a user in a day.
    cap              integer     CHECK (cap > 0),
    timezone         text        NOT NULL,
    starts_at        timestamptz,
    ends_at          timestamptz,
    status           text        NOT NULL CHECK (status IN ('draft', 'active', 'paused', 'ended')),
    pacing           text        NOT NULL CHECK (pacing IN ('asap', 'even')),
    on_exhausted     text        NOT NULL CHECK (on_exhausted IN ('refuse', 'record')),
    cap_unsure       text        NOT NULL CHECK (cap_unsure IN ('refuse', 'allow')),
    click_requires_impression boolean NOT NULL,
    -- Windows, in seconds.
    duplicate_click_window    integer CHECK (duplicate_click_window > 0),
    conversion_window         integer CHECK (conversion_window > 0),
    user_events_per_minute    integer CHECK (user_events_per_minute > 0),
    -- Texts; an event whose user agent contains one of them, in any case, is invalid.
    blocked_user_agents       text[]  NOT NULL,
    spent            bigint      NOT NULL DEFAULT 0 CHECK (spent >= 0),
    reserved         bigint      NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    -- The part of `spent` whose events have expired or were erased.
    booked_out       bigint      NOT NULL DEFAULT 0 CHECK (booked_out >= 0),
    impressions      bigint      NOT NULL DEFAULT 0,
    clicks           bigint      NOT NULL DEFAULT 0,
    conversions      bigint      NOT NULL DEFAULT 0,
    -- Wide: the sum of values that anybody may send must not overflow.
    value            numeric(38, 0) NOT NULL DEFAULT 0,
    users            bigint      NOT NULL DEFAULT 0,
    void             bigint      NOT NULL DEFAULT 0,
    -- Grows with every change of its terms.
    revision         bigint      NOT NULL DEFAULT 1,
    -- Grows with every event, and with every change of its terms.
    report_version   bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    reported_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (spent + reserved <= total_budget),
    CHECK (ends_at > starts_at)
) WITH (fillfactor = 50);

CREATE UNIQUE INDEX campaigns_external ON campaigns (owner, external_id) NULLS NOT DISTINCT
    WHERE external_id IS NOT NULL;
CREATE INDEX campaigns_owner ON campaigns (owner, id);

-- Every change of a campaign's terms.
CREATE TABLE campaign_changes (
    campaign_id bigint      NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    revision    bigint      NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    changed_by  text,
    request_id  text,
    -- The terms after the change, and the money at that time.
    terms       jsonb       NOT NULL,
    spent       bigint      NOT NULL,
    reserved    bigint      NOT NULL,
    PRIMARY KEY (campaign_id, revision)
);

-- A campaign's day in its time zone.
CREATE TABLE campaign_days (
    campaign_id bigint  NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    day         date    NOT NULL,
    -- The day's budget; NULL: none of its own.
    budget      bigint,
    -- The greatest cap of this day; NULL: none.
    cap         integer,
    spent       bigint  NOT NULL DEFAULT 0 CHECK (spent >= 0),
    reserved    bigint  NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (campaign_id, day),
    CHECK (spent + reserved <= budget)
) WITH (fillfactor = 50);

-- Money that an API instance may spend. A lease that is closed is deleted.
CREATE TABLE ad_leases (
    id          text        PRIMARY KEY,
    campaign_id bigint      NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    day         date        NOT NULL,
    instance    text        NOT NULL,
    amount      bigint      NOT NULL CHECK (amount >= 0),
    -- What its applied events used, billed or not.
    settled     bigint      NOT NULL DEFAULT 0 CHECK (settled BETWEEN 0 AND amount),
    granted_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX ad_leases_expire ON ad_leases (expires_at);

-- Each event once.
CREATE TABLE ad_events (
    campaign_id   bigint      NOT NULL,
    event_id      text        NOT NULL,
    user_id       text        NOT NULL,
    type          text        NOT NULL CHECK (type IN ('impression', 'click', 'conversion')),
    day           date        NOT NULL,
    -- What was billed; 0 unless it is counted.
    cost          bigint      NOT NULL CHECK (cost >= 0),
    value         bigint,
    -- `counted`, `void` (no room, or over the cap) or `invalid` (refused by a rule of the campaign).
    outcome       text        NOT NULL,
    -- Why it is void or invalid.
    reason        text,
    impression_id text,
    click_id      text,
    lease_id      text,
    requested_by  text,
    request_id    text,
    accepted_at   timestamptz NOT NULL,
    occurred_at   timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    "offset"      bigint      NOT NULL,
    PRIMARY KEY (campaign_id, event_id)
);
CREATE INDEX ad_events_user ON ad_events (user_id, campaign_id, day);
CREATE INDEX ad_events_recorded ON ad_events USING brin (recorded_at);

-- What a user did in a campaign's day.
CREATE TABLE ad_user_days (
    campaign_id        bigint      NOT NULL,
    user_id            text        NOT NULL,
    day                date        NOT NULL,
    impressions        integer     NOT NULL,
    clicks             integer     NOT NULL,
    conversions        integer     NOT NULL,
    last_impression_at timestamptz,
    last_click_at      timestamptz,
    -- The events of the last minute that had one, for the rate.
    minute             timestamptz,
    minute_events      integer     NOT NULL,
    PRIMARY KEY (campaign_id, user_id, day)
) WITH (fillfactor = 70);
CREATE INDEX ad_user_days_user ON ad_user_days (user_id);

CREATE TABLE ad_stats (
    campaign_id bigint   NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    day         date     NOT NULL,
    -- 0 to 23, in the campaign's time zone.
    hour        integer  NOT NULL,
    impressions bigint   NOT NULL DEFAULT 0,
    clicks      bigint   NOT NULL DEFAULT 0,
    conversions bigint   NOT NULL DEFAULT 0,
    -- The users whose first event of the day was in this hour.
    users       bigint   NOT NULL DEFAULT 0,
    spend       bigint   NOT NULL DEFAULT 0,
    value       numeric(38, 0) NOT NULL DEFAULT 0,
    void        bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, day, hour)
) WITH (fillfactor = 50);

CREATE TABLE ad_invalid (
    campaign_id bigint NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    reason      text   NOT NULL,
    events      bigint NOT NULL,
    PRIMARY KEY (campaign_id, reason)
);

-- The incarnations of the Redis that holds the caps: what a server may have forgotten, it forgot between two of them.
CREATE TABLE redis_incarnations (
    serial    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id        text        NOT NULL UNIQUE,
    seen_at   timestamptz NOT NULL DEFAULT now(),
    -- When every event that was accepted before `seen_at` had been applied.
    proven_at timestamptz
);

-- Erased users: what they did before has no effect any more.
CREATE TABLE ad_forgotten_users (
    user_id      text        PRIMARY KEY,
    forgotten_at timestamptz NOT NULL
);
