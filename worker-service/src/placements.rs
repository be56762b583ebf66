//! Placements: what follows from the events that commands publish. Each handler is a group of its own: the read model
//! fences what is cached, files are rendered for players, and validations run. An event says that something changed;
//! PostgreSQL says what: so an event that comes late or again does no harm.

pub mod ended;
pub mod expire;
pub mod files;
pub mod overdue;
pub mod read_model;
pub mod validator;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use shared::cache::{CacheKey, Fence};
use shared::kafka::Delivery;
use shared::placements::events::PUBLISHED;
use shared::placements::objects::{FilesConfig, Objects};
use shared::placements::queries::INDEXES;
use shared::placements::{VALIDATION, VIDEO};
use tokio::time::Instant;

use self::ended::ValidationsExpiryConfig;
use self::expire::FilesExpiryConfig;
use self::files::Files;
use self::read_model::ReadModel;
use self::validator::Validator;
use crate::consumer::handler::{Applied, Processed, Retention};
use crate::consumer::registry::{Dependencies, Registry};
use crate::observe::panics::{self, Panicked};
use crate::outbox::OutboxConfig;

/// The outcomes of an event: it had its effect; it came again; or what it asks for was there already.
const APPLIED: &str = "applied";
const REPEATED: &str = "repeated";
const UNCHANGED: &str = "unchanged";
const OUTCOMES: [&str; 3] = [APPLIED, REPEATED, UNCHANGED];

/// Registers what the worker does for placements.
pub fn register(worker: &mut Registry) {
    worker
        .settings::<FilesConfig>()
        .settings::<FilesExpiryConfig>()
        .settings::<ValidationsExpiryConfig>()
        .handler(|given| Ok(ReadModel::new(inbox_retention(given)?)))
        .handler(|given| {
            let (store, bell) = (given.store.clone(), given.doorbell.clone());
            Ok(Files::new(store, objects(given, "the handler files")?, bell, inbox_retention(given)?))
        })
        .handler(|given| {
            let (store, bell) = (given.store.clone(), given.doorbell.clone());
            Ok(Validator::new(store, bell, inbox_retention(given)?))
        })
        .task(expire::TASK, |given| {
            let (store, objects) = (given.store.clone(), objects(given, "the task files-expire")?);
            let older_than = given.settings.of::<FilesExpiryConfig>()?.files_retention;
            Ok(move |stop| expire::run(store.clone(), objects.clone(), older_than, stop))
        })
        .task(overdue::TASK, |given| {
            let (store, bell) = (given.store.clone(), given.doorbell.clone());
            Ok(move |stop| overdue::run(store.clone(), bell.clone(), stop))
        })
        .task(ended::TASK, |given| {
            let (store, since) = (given.store.clone(), Instant::now());
            let older_than = given.settings.of::<ValidationsExpiryConfig>()?.validations_retention;
            Ok(move |stop| ended::run(store.clone(), older_than, since, stop))
        })
        .describe(files::describe)
        .describe(validator::describe)
        .describe(expire::describe)
        .describe(ended::describe)
        .indexes(INDEXES)
        .publishes(&PUBLISHED)
        .cached(&VIDEO)
        .cached(&VALIDATION);
}

/// There is no default: a folder that only one container sees would be wrong, and nobody would notice.
fn objects(given: &Dependencies, who: &str) -> anyhow::Result<Objects> {
    let url = given.settings.of::<FilesConfig>()?.files_url;
    Objects::open(&url.with_context(|| format!("{who} needs FILES_URL: set it, or leave this out with --only"))?)
}

fn inbox_retention(given: &Dependencies) -> anyhow::Result<Duration> {
    Ok(given.settings.of::<OutboxConfig>()?.inbox_retention)
}

fn retention(period: Duration) -> Option<Retention> {
    Some(Retention { setting: "INBOX_RETENTION", period })
}

/// Runs code that takes long, and may panic, on a thread of its own.
async fn aside<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
    match tokio::task::spawn_blocking(move || panics::caught(code)).await {
        Ok(done) => done,
        // The runtime ends, and this with it.
        Err(_) => std::future::pending().await,
    }
}

/// Whether an event is a probe's: no aggregate's name begins with a blank.
fn is_probe<E>(delivery: &Delivery<E>) -> bool {
    delivery.envelope.key.as_str().starts_with(' ')
}

/// The result of a batch, made event by event. Of several versions of a resource the greatest one is fenced: an event
/// that was redriven may have a lower one than the event before it.
#[derive(Default)]
struct Noted {
    applied: Applied,
    places: HashMap<CacheKey, usize>,
}

impl Noted {
    /// Adds the next event.
    fn add(&mut self, outcome: &'static str, counts: bool, reason: Option<&'static str>, fence: Option<Fence>) {
        let version = fence.as_ref().map(|(_, version)| *version);
        let fence = fence.map(|(key, version)| {
            let fences = &mut self.applied.fences;
            let place = *self.places.entry(key.clone()).or_insert_with(|| {
                fences.push((key, version));
                fences.len() - 1
            });
            if let Some((_, known)) = fences.get_mut(place) {
                *known = version.max(*known);
            }
            place
        });
        self.applied.events.push(Processed { outcome, reason, counts, version, fence });
    }

    fn done(self) -> Applied {
        self.applied
    }
}

#[cfg(test)]
mod tests {
    use shared::placements::VideoId;

    use super::*;

    #[test]
    fn of_several_versions_the_greatest_is_fenced() {
        let (a, b) = (VideoId::generate(), VideoId::generate());
        let mut noted = Noted::default();
        for (video, version) in [(a, 5), (b, 1), (a, 7), (a, 2)] {
            noted.add(APPLIED, true, None, Some((video.cache_key(), version)));
        }
        noted.add(UNCHANGED, false, None, None);
        let Applied { events, fences } = noted.done();
        assert_eq!(fences, [(a.cache_key(), 7), (b.cache_key(), 1)]);
        let seen: Vec<_> = events.iter().map(|event| (event.version, event.fence)).collect();
        assert_eq!(
            seen,
            [(Some(5), Some(0)), (Some(1), Some(1)), (Some(7), Some(0)), (Some(2), Some(0)), (None, None)]
        );
    }
}
