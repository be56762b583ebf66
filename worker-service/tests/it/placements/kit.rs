//! Videos with placements in PostgreSQL, and events of them in the topic, as commands and the relay leave them.

use std::ops::Deref;
use std::path::PathBuf;

use shared::kafka::ids::EventId;
use shared::kafka::position::Position;
use shared::placements::files::{FileKind, render};
use shared::placements::objects::{ObjectHash, Objects};
use shared::placements::queries::subscribers::snapshot;
use shared::placements::snapshot::Snapshot;
use shared::placements::{PlacementId, ValidationId, VideoId};
use shared::store::outbox::doorbell::Doorbell;
use shared::store::{Tx, Work};
use worker_service::consumer::handler::Applied;

use crate::prelude::*;

pub(super) const CREATED: &str = "com.nedlia.placement.created";
pub(super) const UPDATED: &str = "com.nedlia.placement.updated";
pub(super) const REQUESTED: &str = "com.nedlia.video.validation_requested";
pub(super) const COMPLETED: &str = "com.nedlia.video.validation_completed";
pub(super) const GENERATED: &str = "com.nedlia.video.files_generated";

/// The side of a subscriber in a test: the kit's topics are those of the domain's events, and its group is this one's.
pub(super) struct Placements {
    kit: Kit,
    /// The scope of the services.
    services: Scope,
}

impl Deref for Placements {
    type Target = Kit;

    fn deref(&self) -> &Kit {
        &self.kit
    }
}

/// A row of the outbox.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) aggregate: String,
    pub(super) sequence: i64,
    pub(super) event_type: String,
    pub(super) attributes: Value,
    pub(super) data: Value,
}

impl Placements {
    pub(super) async fn new(name: &str, group: fn(&Scope) -> &String) -> Self {
        let kit = Kit::new(name, 1).await;
        let services = kit.scope.clone();
        let scope = Scope {
            input_topic: services.domain_topic.clone(),
            dlq_topic: services.domain_dlq_topic.clone(),
            group: group(&services).clone(),
            ..services.clone()
        };
        let kit = kit.moved_to(scope);
        kit.make_topics(1).await;
        Self { kit, services }
    }

    /// A worker that runs these handlers.
    pub(super) fn worker_of(&self, only: &[&str]) -> Worker {
        let mut config = run_config(&self.services);
        config.only = only.iter().map(|&name| name.to_owned()).collect();
        Worker::start(&config).unwrap()
    }

    pub(super) fn objects(&self) -> Objects {
        Objects::open(&self.services.files_url.parse().unwrap()).unwrap()
    }

    /// The folder of its objects.
    pub(super) fn folder(&self) -> PathBuf {
        self.services.files_url.strip_prefix("file://").unwrap().into()
    }

    pub(super) fn bell(&self) -> Doorbell {
        Doorbell::new(self.store.clone())
    }

    /// Makes a video of a minute at its first revision, without an event.
    pub(super) async fn video(&self) -> VideoId {
        let video = VideoId::generate();
        let sql = "WITH number AS (INSERT INTO sequences (aggregate, last) VALUES ($1, 1))
                   INSERT INTO videos (id, title, duration_ms, revision, version) VALUES ($1::uuid, 'film', 60000, 1, 1)";
        sqlx::query(sql).bind(video.to_string()).execute(&self.pool).await.unwrap();
        video
    }

    /// Places a product in a video; returns the placement, and the number of that change.
    pub(super) async fn place(&self, video: VideoId, product: &str, (start, end): (i64, i64)) -> (PlacementId, i64) {
        let (id, number) = (PlacementId::generate(), self.change(video).await);
        let sql = "INSERT INTO placements (id, video_id, product_id, start_ms, end_ms, layer, version)
                   VALUES ($1::uuid, $2::uuid, $3, $4, $5, 0, $6)";
        let query = sqlx::query(sql).bind(id.to_string()).bind(video.to_string()).bind(product).bind(start).bind(end);
        query.bind(number).execute(&self.pool).await.unwrap();
        (id, number)
    }

    /// Changes the content of a video; returns the number of the change.
    pub(super) async fn change(&self, video: VideoId) -> i64 {
        let number = self.number(video).await;
        let sql = "UPDATE videos SET revision = $2, version = $2 WHERE id = $1::uuid";
        sqlx::query(sql).bind(video.to_string()).bind(number).execute(&self.pool).await.unwrap();
        number
    }

    /// Takes the next number of a video.
    pub(super) async fn number(&self, video: VideoId) -> i64 {
        let sql = "UPDATE sequences SET last = last + 1 WHERE aggregate = $1 RETURNING last";
        sqlx::query_scalar(sql).bind(video.to_string()).fetch_one(&self.pool).await.unwrap()
    }

    /// Queues a validation of a video; returns it and the number of that.
    pub(super) async fn request(&self, video: VideoId) -> (ValidationId, i64) {
        let (id, number) = (ValidationId::generate(), self.number(video).await);
        let sql = "INSERT INTO validations (id, video_id, status, revision, version)
                   SELECT $1::uuid, id, 'queued', revision, $3 * 2 FROM videos WHERE id = $2::uuid";
        let query = sqlx::query(sql).bind(id.to_string()).bind(video.to_string()).bind(number);
        assert_eq!(query.execute(&self.pool).await.unwrap().rows_affected(), 1);
        (id, number)
    }

    /// Writes an event to the topic as the relay does; returns its id.
    pub(super) async fn put_event(&self, event_type: &str, key: &str, sequence: i64, data: &Value) -> EventId {
        let id = EventId::generate();
        self.put_event_again(&id, event_type, key, sequence, data).await;
        id
    }

    /// The same with this id.
    pub(super) async fn put_event_again(&self, id: &EventId, event_type: &str, key: &str, sequence: i64, data: &Value) {
        let sequence = format!("{sequence:020}");
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_type", event_type),
            ("ce_id", id.as_str()),
            ("ce_source", "/placements"),
            ("ce_subject", key),
            ("ce_partitionkey", key),
            ("ce_sequence", &sequence),
            ("ce_correlationid", "c-1"),
            ("ce_requestid", "r-1"),
            ("ce_userid", "editor"),
            ("content-type", "application/json"),
        ];
        let headers = headers.map(|(name, value)| (name, Some(value.as_bytes())));
        self.put(Some(key.as_bytes()), Some(data.to_string().as_bytes()), &headers).await;
    }

    /// Puts the event of a change of a video.
    pub(super) async fn put_change(&self, video: VideoId, number: i64) -> EventId {
        let data = json!({"videoId": video.to_string(), "revision": number});
        self.put_event(UPDATED, &video.to_string(), number, &data).await
    }

    /// The rows of the outbox, by aggregate and number.
    pub(super) async fn outbox(&self) -> Vec<Published> {
        let sql = "SELECT aggregate, sequence, type, attributes::text, data FROM outbox ORDER BY 1, 2";
        let rows: Vec<(String, i64, String, String, String)> = sqlx::query_as(sql).fetch_all(&self.pool).await.unwrap();
        let published = |(aggregate, sequence, event_type, attributes, data): (String, i64, String, String, String)| {
            let [attributes, data] = [attributes, data].map(|json| serde_json::from_str(&json).unwrap());
            Published { aggregate, sequence, event_type, attributes, data }
        };
        rows.into_iter().map(published).collect()
    }

    /// Waits until a video's files show this revision.
    pub(super) async fn until_ready(&self, video: VideoId, revision: i64) {
        let is_ready = async || {
            let query = sqlx::query_scalar("SELECT ready_revision FROM videos WHERE id = $1::uuid");
            let ready: i64 = query.bind(video.to_string()).fetch_one(&self.pool).await.unwrap();
            if ready == revision { Ok(()) } else { Err(ready) }
        };
        found(&format!("the files of {video} show {revision}"), is_ready).await;
    }

    pub(super) async fn snapshot(&self, video: VideoId) -> Snapshot {
        snapshot(&self.store, video).await.unwrap().unwrap()
    }

    /// Checks that both files of a video are those of its content now, and in the store; returns their hashes.
    pub(super) async fn check_files(&self, video: VideoId) -> Vec<ObjectHash> {
        let snapshot = self.snapshot(video).await;
        let sql =
            "SELECT kind, revision, encode(sha256, 'hex'), bytes FROM files WHERE video_id = $1::uuid ORDER BY kind";
        let query = sqlx::query_as(sql).bind(video.to_string());
        let rows: Vec<(String, i64, String, i64)> = query.fetch_all(&self.pool).await.unwrap();
        let mut hashes = Vec::new();
        for kind in FileKind::ALL {
            let content = render(&snapshot, kind);
            let hash = ObjectHash::of(&content);
            let length = i64::try_from(content.len()).unwrap();
            let row = (kind.as_str().to_owned(), snapshot.video.revision, hash.to_string(), length);
            assert!(rows.contains(&row), "{rows:?}");
            assert_eq!(self.objects().get(hash).await.unwrap().as_deref(), Some(&content[..]));
            hashes.push(hash);
        }
        assert_eq!(rows.len(), FileKind::ALL.len());
        hashes
    }

    /// Prepares and applies a batch, in a transaction of its own.
    pub(super) async fn apply<H: Handler>(&self, handler: &H, batch: &[&Delivery<H::Event>]) -> Applied {
        let prepared = handler.prepare(batch).await.unwrap();
        self.apply_prepared(handler, batch, &prepared).await
    }

    /// Applies a batch that was prepared before.
    pub(super) async fn apply_prepared<H: Handler>(
        &self,
        handler: &H,
        batch: &[&Delivery<H::Event>],
        prepared: &H::Prepared,
    ) -> Applied {
        self.store.transact(H::BEGIN, &Prepared { handler, batch, prepared }).await.unwrap()
    }
}

struct Prepared<'a, H: Handler> {
    handler: &'a H,
    batch: &'a [&'a Delivery<H::Event>],
    prepared: &'a H::Prepared,
}

impl<H: Handler> Work for Prepared<'_, H> {
    type Output = Applied;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Applied, Failure> {
        self.handler.apply(tx, self.batch, self.prepared).await
    }
}

/// An event at this offset of the log, with this id, as a handler gets it. It must have an effect there.
pub(super) fn delivery<H: Handler>(
    (id, offset): (&str, i64),
    event_type: &'static str,
    key: &str,
    sequence: i64,
    data: &Value,
) -> Delivery<H::Event> {
    let at = DAY.midnight().assume_utc() + time::Duration::seconds(offset);
    let new = Envelope::new(event_type, key.to_owned().into(), id.parse().unwrap(), at, data.to_string().into());
    let envelope = Envelope { sequence: Some(sequence), correlation_id: Some("c-1".to_owned()), ..new };
    let event = H::decode(&envelope).unwrap().unwrap();
    Delivery { envelope, position: Position::new("t", 0, offset, at), event }
}
