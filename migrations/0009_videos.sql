-- Videos, the placements in them, and what is made of both. A version is the number (`sequences`) of the video's
-- boundary at the last change.

CREATE TABLE videos (
    id             uuid        PRIMARY KEY,
    title          text        NOT NULL,
    duration_ms    bigint      NOT NULL CHECK (duration_ms BETWEEN 1 AND 86400000),
    -- Thousandths of a frame a second; NULL: unknown.
    frame_rate     integer     CHECK (frame_rate BETWEEN 1 AND 1000000),
    -- The number of the last change of the content: of the video or of one of its placements.
    revision       bigint      NOT NULL,
    -- The revision whose files are ready; 0: none.
    ready_revision bigint      NOT NULL DEFAULT 0,
    -- The number of the last change of anything in this row.
    version        bigint      NOT NULL,
    placements     integer     NOT NULL DEFAULT 0 CHECK (placements BETWEEN 0 AND 10000),
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (ready_revision <= revision AND revision <= version)
) WITH (fillfactor = 50);

CREATE TABLE products (
    id         text        COLLATE "C" PRIMARY KEY,
    name       text        NOT NULL,
    active     boolean     NOT NULL,
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Half-open ranges. Whether they fit the video, each other, a product and a campaign is asked by validations.
CREATE TABLE placements (
    id          uuid        PRIMARY KEY,
    video_id    uuid        NOT NULL REFERENCES videos,
    product_id  text        COLLATE "C" NOT NULL,
    campaign_id bigint,
    start_ms    bigint      NOT NULL CHECK (start_ms >= 0),
    end_ms      bigint      NOT NULL CHECK (end_ms > start_ms AND end_ms <= 86400000),
    layer       integer     NOT NULL CHECK (layer BETWEEN 0 AND 1000),
    -- {"x","y","width","height"}, fractions of the picture; NULL: all of it.
    region      jsonb,
    label       text,
    version     bigint      NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
) WITH (fillfactor = 80);
CREATE INDEX placements_in_video ON placements (video_id, start_ms, id) WHERE deleted_at IS NULL;

CREATE TABLE validations (
    id           uuid        PRIMARY KEY,
    video_id     uuid        NOT NULL REFERENCES videos,
    status       text        NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
    -- The revision that was validated; until then the one at which it was asked for.
    revision     bigint      NOT NULL,
    -- Twice the number of the boundary; one more while it runs.
    version      bigint      NOT NULL,
    findings     jsonb,
    error        text,
    requested_by text,
    requested_at timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CHECK ((status IN ('succeeded', 'failed')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 50);
CREATE INDEX validations_unfinished ON validations (requested_at) WHERE finished_at IS NULL;

CREATE TABLE files (
    video_id     uuid        NOT NULL REFERENCES videos,
    kind         text        NOT NULL CHECK (kind IN ('json', 'vtt')),
    revision     bigint      NOT NULL,
    sha256       bytea       NOT NULL CHECK (length(sha256) = 32),
    bytes        bigint      NOT NULL,
    generated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (video_id, kind)
) WITH (fillfactor = 50);
CREATE INDEX files_object ON files (sha256);

-- Since when objects are a video's file no more, to the hour. An object that became a file again has its row still.
CREATE TABLE replaced_files (
    sha256      bytea       PRIMARY KEY CHECK (length(sha256) = 32),
    replaced_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX replaced_files_at ON replaced_files USING brin (replaced_at);

-- What the events of campaigns told.
CREATE TABLE placement_campaigns (
    id        bigint      PRIMARY KEY,
    name      text        NOT NULL,
    status    text        NOT NULL,
    starts_at timestamptz,
    ends_at   timestamptz,
    -- The campaign's boundary: an older event changes nothing.
    sequence  bigint      NOT NULL
);
-- Campaigns of before have told of themselves nowhere.
INSERT INTO placement_campaigns (id, name, status, starts_at, ends_at, sequence)
SELECT id, name, status, starts_at, ends_at, 0 FROM campaigns;
