//! A video at each of its revisions, replayed from the topic.
//!
//! A place in a timeline is twice the number of an event. Between two events is the place at which PostgreSQL was restored
//! to an earlier time: from there on, the video is what it was at an earlier revision.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{Placement, Video};
use crate::history::placements::{DomainRecord, Restored, SavedVideo};

/// A placement from a place on.
#[derive(Debug)]
struct Change {
    place: i64,
    /// The number of the event that made it so.
    version: i64,
    /// `None`: it is deleted.
    placement: Option<Placement>,
}

/// A video from a place on.
#[derive(Debug)]
struct Content {
    place: i64,
    revision: i64,
    video: Option<Video>,
}

#[derive(Debug, Default)]
pub(super) struct Timeline<'a> {
    /// Ordered by number, each number once.
    records: Vec<&'a DomainRecord>,
    contents: Vec<Content>,
    placements: BTreeMap<&'a str, Vec<Change>>,
    /// At the end: the revision whose files are ready, and the number of the last change of the video's row.
    pub(super) ready: i64,
    pub(super) version: i64,
}

/// A placement with its id and its version.
pub(super) type Here<'t> = (&'t str, i64, &'t Placement);

impl<'a> Timeline<'a> {
    pub(super) fn records(&self) -> impl Iterator<Item = &'a DomainRecord> {
        self.records.iter().copied()
    }

    /// The ids of all placements that ever were.
    pub(super) fn placements(&self) -> impl Iterator<Item = &'a str> {
        self.placements.keys().copied()
    }

    fn content(&self, place: i64) -> Option<&Content> {
        self.contents.iter().rev().find(|content| content.place <= place)
    }

    /// The video at a place, and its revision there.
    pub(super) fn video(&self, place: i64) -> Option<(i64, &Video)> {
        let Content { revision, video, .. } = self.content(place)?;
        Some((*revision, video.as_ref()?))
    }

    pub(super) fn placement(&self, id: &str, place: i64) -> Option<(i64, &Placement)> {
        let change = self.placements.get(id)?.iter().rev().find(|change| change.place <= place)?;
        Some((change.version, change.placement.as_ref()?))
    }

    /// A placement as it was at a version of its own.
    pub(super) fn version_of(&self, id: &str, version: i64) -> Option<&Placement> {
        self.placements.get(id)?.iter().find(|change| change.version == version)?.placement.as_ref()
    }

    /// The placements at a place, by id.
    pub(super) fn all(&self, place: i64) -> Vec<Here<'_>> {
        let here = |id: &&'a str| self.placement(id, place).map(|(version, placement)| (*id, version, placement));
        self.placements.keys().filter_map(here).collect()
    }

    /// The place of a revision, if the video ever had it.
    pub(super) fn place_of(&self, revision: i64) -> Option<i64> {
        let had = self.contents.iter().any(|content| content.revision == revision && content.video.is_some());
        had.then_some(2 * revision)
    }

    /// Applies the next event; the error says why that is not possible.
    fn apply(&mut self, record: &'a DomainRecord, number: i64) -> Result<(), String> {
        let data = &record.data;
        let (now, place) = (i64::MAX, 2 * number);
        let revision = data.get("revision").and_then(Value::as_i64).ok_or("has no revision")?;
        let current = self.video(now).map(|(revision, _)| revision);
        let of_placement = data.get("placementId").and_then(Value::as_str);
        match record.kind.as_str() {
            "video.validation_requested" if current != Some(revision) => {
                return Err(format!("is of revision {revision}, and the video has {current:?}"));
            }
            "video.validation_requested" | "video.validation_completed" => return Ok(()),
            "video.files_generated" => {
                if current.is_none_or(|current| revision > current) || revision <= self.ready {
                    return Err(format!("is of revision {revision}, behind {}, of {current:?}", self.ready));
                }
                (self.ready, self.version) = (revision, number);
                return Ok(());
            }
            _ if revision != number => return Err(format!("has revision {revision}")),
            "video.created" | "video.updated" => {
                if current.is_some() == (record.kind == "video.created") {
                    return Err(format!("meets a video of revision {current:?}"));
                }
                let video = Video::of(data).ok_or("is not a video")?;
                self.contents.push(Content { place, revision, video: Some(video) });
            }
            "placement.created" | "placement.updated" | "placement.deleted" => {
                let id = of_placement.ok_or("has no placement")?;
                let is_there = self.placement(id, now).is_some();
                if is_there == (record.kind == "placement.created") {
                    let there = if is_there { "there already" } else { "not there" };
                    return Err(format!("is of the placement {id}, which is {there}"));
                }
                let placement = match record.kind.as_str() {
                    "placement.deleted" => None,
                    _ if data.get("version").and_then(Value::as_i64) != Some(number) => {
                        return Err("has another version".to_owned());
                    }
                    _ => Some(Placement::of(data).ok_or("is not a placement")?),
                };
                let video = self.video(now).map(|(_, video)| video.clone()).ok_or("is of no video")?;
                self.contents.push(Content { place, revision, video: Some(video) });
                self.placements.entry(id).or_default().push(Change { place, version: number, placement });
            }
            kind => return Err(format!("has the type {kind}, which no video has")),
        }
        self.version = number;
        Ok(())
    }

    /// From here on, the video is what it was when it was saved; `None`: it did not exist.
    fn restore(&mut self, place: i64, saved: Option<&SavedVideo>) {
        let revision = saved.map_or(0, |saved| saved.revision);
        for changes in self.placements.values_mut() {
            let then = changes.iter().rev().find(|change| change.place <= 2 * revision);
            let (version, placement) = then.map_or((0, None), |then| (then.version, then.placement.clone()));
            changes.push(Change { place, version, placement });
        }
        let video = saved.and_then(|_| self.video(2 * revision)).map(|(_, video)| video.clone());
        self.contents.push(Content { place, revision, video });
        (self.ready, self.version) = saved.map_or((0, 0), |saved| (saved.ready_revision, saved.version));
    }
}

/// Replays the records of a video, whatever their order is; says what is wrong with them.
pub(super) fn replay<'a>(
    key: &str,
    mut records: Vec<&'a DomainRecord>,
    restored: &[Restored],
    wrong: &mut Vec<String>,
) -> Timeline<'a> {
    records.sort_by_key(|record| record.sequence);
    records.dedup_by_key(|record| record.sequence);
    let mut resets = restored.iter().map(|restored| {
        let last = restored.numbers.iter().find(|number| number.aggregate == key).map_or(0, |number| number.last);
        (2 * last + 1, restored.videos.iter().find(|video| video.id == key))
    });
    let mut next = resets.next();
    let mut timeline = Timeline::default();
    for record in &records {
        let Some(number) = record.sequence else { continue };
        while let Some((place, saved)) = next.filter(|(place, _)| *place < 2 * number) {
            timeline.restore(place, saved);
            next = resets.next();
        }
        if let Err(what) = timeline.apply(record, number) {
            wrong.push(format!("event {number}, {}, {what}", record.kind));
        }
    }
    while let Some((place, saved)) = next {
        timeline.restore(place, saved);
        next = resets.next();
    }
    timeline.records = records;
    timeline
}
