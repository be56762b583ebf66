//! Renders the files of videos, puts them into the store of objects, and says so. Of a batch each video is rendered once,
//! at its newest revision.
//!
//! An object is put before the transaction, so that no lock waits for the store. Its name is its content's hash, so a
//! batch that is tried again puts the same. A row is written only if its revision is greater: two workers that render
//! one video never let it go back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use metrics::{counter, describe_counter, describe_histogram, histogram};
use shared::kafka::{Cause, Delivery, Envelope, Refusal, Setting, Stream as _};
use shared::placements::files::{FileKind, render};
use shared::placements::objects::{ObjectHash, Objects};
use shared::placements::queries::files::{FileState, Made, MadeFile, file, write_files};
use shared::placements::queries::subscribers::{content, video_versions};
use shared::placements::received::{About, DomainEvent};
use shared::placements::{DomainStream, PlacementEventType, VideoId};
use shared::runtime::json::Payload;
use shared::store::outbox::doorbell::Doorbell;
use shared::store::{Failure, Once, Store, Tx, inbox};
use time::OffsetDateTime;

use super::{APPLIED, Noted, OUTCOMES, REPEATED, UNCHANGED, aside, is_probe};
use crate::consumer::event_lines::EventLines;
use crate::consumer::handler::{Applied, Handler, Retention};
use crate::event_lines;
use crate::source::HandlerSpec;

const NAME: &str = "files";
/// An event that was appended longer ago than this is probably read again, after `seek`. Then the video's files are
/// read in the store; for each event of now that would cost too much.
const OLD: Duration = Duration::from_secs(600);
/// Videos that are rendered at once, each with its own query and two puts.
const CONCURRENCY: usize = 4;

pub fn describe() {
    describe_counter!("placement_files_total", "Files of videos that were made, by kind.");
    describe_histogram!("placement_file_seconds", "Time from a command to the commit of the files that show it.");
    for kind in FileKind::ALL {
        counter!("placement_files_total", "kind" => kind.as_str()).increment(0);
    }
}

/// Makes the files of videos.
#[derive(Debug)]
pub struct Files {
    store: Store,
    objects: Objects,
    bell: Doorbell,
    retention: Duration,
}

impl Files {
    pub fn new(store: Store, objects: Objects, bell: Doorbell, retention: Duration) -> Self {
        Self { store, objects, bell, retention }
    }

    /// The files of a video at its revision now, which are in the store of objects then; `None` if the newest ones are
    /// ready, or if there is no such video, as after PostgreSQL was restored to an earlier time. Ready ones that the store
    /// has lost or has damaged are put again, if the event is so old that it was read again.
    async fn make(&self, video: VideoId, is_old: bool) -> Result<Option<Made>, Failure> {
        let Some(snapshot) = content(&self.store, video).await? else { return Ok(None) };
        let revision = snapshot.video.revision;
        let are_ready = snapshot.video.ready_revision >= revision;
        if are_ready && (!is_old || self.are_there(video).await?) {
            return Ok(None);
        }
        // A large video takes milliseconds, in which nothing else would run on this thread.
        let rendered = aside(move || {
            FileKind::ALL.map(|kind| {
                let content = Bytes::from(render(&snapshot, kind));
                (kind, ObjectHash::of(&content), content)
            })
        });
        let rendered = rendered.await.map_err(|panicked| Failure::panicked(panicked.to_string()))?;
        let put = |(kind, hash, content): (FileKind, ObjectHash, Bytes)| async move {
            let bytes = content.len() as u64;
            self.objects.put(hash, content).await?;
            Ok::<_, Failure>(MadeFile { kind, hash, bytes })
        };
        let files = stream::iter(rendered).map(put).buffered(FileKind::ALL.len()).try_collect().await?;
        Ok((!are_ready).then_some(Made { video, revision, files }))
    }

    /// Whether the store has the files of a video that are ready, as they were put: only their content tells.
    async fn are_there(&self, video: VideoId) -> Result<bool, Failure> {
        for kind in FileKind::ALL {
            let FileState::Ready(row) = file(&self.store, video, kind).await? else { continue };
            match self.objects.get(row.hash).await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                Err(error) if error.is_damaged() => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

impl Handler for Files {
    type Event = VideoId;
    type Prepared = BTreeMap<VideoId, Made>;

    const SPEC: HandlerSpec = HandlerSpec {
        name: NAME,
        group: Setting::new(
            "KAFKA_FILES_GROUP",
            "kafka-files-group",
            "placement-files",
            "The consumer group that makes the files of videos",
        ),
        stream: DomainStream::SPEC,
        owner: false,
        types: &[
            PlacementEventType::PlacementCreated.as_str(),
            PlacementEventType::PlacementUpdated.as_str(),
            PlacementEventType::PlacementDeleted.as_str(),
            PlacementEventType::VideoCreated.as_str(),
            PlacementEventType::VideoUpdated.as_str(),
        ],
        once: Once::Inbox { subscriber: NAME },
    };
    const OUTCOMES: &'static [&'static str] = &OUTCOMES;
    const LINES: EventLines = event_lines!(aggregate);
    /// A batch is prepared within two seconds, or it is tried again as it is: so it must be small.
    const BATCH: usize = 16;

    fn retention(&self) -> Option<Retention> {
        super::retention(self.retention)
    }

    fn decode(envelope: &Envelope) -> Result<Option<VideoId>, Refusal> {
        let DomainEvent { event_type, about, .. } = DomainEvent::decode(envelope)?;
        let is_content = match event_type {
            PlacementEventType::PlacementCreated
            | PlacementEventType::PlacementUpdated
            | PlacementEventType::PlacementDeleted
            | PlacementEventType::VideoCreated
            | PlacementEventType::VideoUpdated => true,
            PlacementEventType::ValidationRequested
            | PlacementEventType::ValidationCompleted
            | PlacementEventType::FilesGenerated
            | PlacementEventType::CampaignCreated
            | PlacementEventType::CampaignUpdated
            | PlacementEventType::CampaignEnded => false,
        };
        Ok(match about {
            About::Video(video) if is_content => Some(video),
            About::Video(_) | About::Validation(..) | About::Campaign(_) => None,
        })
    }

    /// A probe tries the store of objects, so that no event is suspected while that is away.
    async fn prepare(&self, batch: &[&Delivery<VideoId>]) -> Result<Self::Prepared, Failure> {
        if batch.iter().any(|delivery| is_probe(delivery)) {
            self.objects.probe().await?;
            return Ok(BTreeMap::new());
        }
        let since = OffsetDateTime::now_utc() - OLD;
        let mut videos: BTreeMap<VideoId, bool> = BTreeMap::new();
        for delivery in batch {
            *videos.entry(delivery.event).or_default() |= delivery.position.appended_at < since;
        }
        let made = stream::iter(videos).map(|(video, is_old)| self.make(video, is_old)).buffer_unordered(CONCURRENCY);
        let made: Vec<Option<Made>> = made.try_collect().await?;
        Ok(made.into_iter().flatten().map(|made| (made.video, made)).collect())
    }

    async fn apply(
        &self,
        tx: &mut Tx<'_>,
        batch: &[&Delivery<VideoId>],
        prepared: &Self::Prepared,
    ) -> Result<Applied, Failure> {
        let new = inbox::admit(tx, NAME, batch).await?;
        // The first new event of a video is the cause of its files.
        let mut due = BTreeMap::new();
        for (delivery, _) in batch.iter().zip(&new).filter(|(_, new)| **new) {
            if let Some(made) = prepared.get(&delivery.event) {
                due.entry(delivery.event).or_insert_with(|| (made, Cause::of(&delivery.envelope)));
            }
        }
        let mut changed = write_files(tx, &due, OffsetDateTime::now_utc()).await?;
        let videos: BTreeSet<VideoId> = batch.iter().map(|delivery| delivery.event).collect();
        let versions = video_versions(tx, &videos.into_iter().collect::<Vec<_>>()).await?;
        let mut noted = Noted::default();
        for (delivery, new) in batch.iter().zip(new) {
            let outcome = match new {
                false => REPEATED,
                true if changed.remove(&delivery.event).is_some() => APPLIED,
                true => UNCHANGED,
            };
            let version = versions.get(&delivery.event);
            noted.add(outcome, true, None, version.map(|version| (delivery.event.cache_key(), *version)));
        }
        Ok(noted.done())
    }

    fn measure(&self, batch: &[&Delivery<VideoId>], applied: &Applied) {
        let now = OffsetDateTime::now_utc();
        let mut made = 0;
        for (delivery, _) in batch.iter().zip(&applied.events).filter(|(_, event)| event.outcome == APPLIED) {
            let waited = now - delivery.envelope.accepted_at;
            histogram!("placement_file_seconds").record(waited.as_seconds_f64().max(0.0));
            made += 1;
        }
        if made > 0 {
            for kind in FileKind::ALL {
                counter!("placement_files_total", "kind" => kind.as_str()).increment(made);
            }
            self.bell.ring();
        }
    }

    fn probe_event(_: Arc<str>, _: Payload) -> (&'static str, VideoId) {
        (PlacementEventType::PlacementUpdated.as_str(), VideoId::generate())
    }
}
