//! Promise 7: the rows of videos and placements are what the topic makes of them, and so is what clients read.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Found;
use super::model::{Placement, Video, region};
use super::{Placed, name};
use crate::history::Span;
use crate::history::placements::{PlacementRow, VideoRow};

const NOW: i64 = i64::MAX;

impl VideoRow {
    fn video(&self) -> Video {
        Video { title: self.title.clone(), duration_ms: self.duration_ms, frame_rate: self.frame_rate }
    }
}

impl PlacementRow {
    fn placement(&self) -> Placement {
        Placement {
            product: self.product.clone(),
            campaign: self.campaign,
            start: self.start_ms,
            end: self.end_ms,
            layer: self.layer,
            region: self.region.as_ref().and_then(region),
            label: self.label.clone(),
        }
    }
}

impl Found {
    pub(super) fn rows_of_videos(&mut self, placed: &Placed<'_>) {
        let mut rows: BTreeMap<&str, BTreeMap<&str, &PlacementRow>> = BTreeMap::new();
        for row in &placed.end.placements {
            rows.entry(&row.video).or_default().insert(&row.id, row);
        }
        let mut videos = BTreeSet::new();
        for row in &placed.end.videos {
            videos.insert(row.id.as_str());
            let Some(timeline) = placed.timelines.get(row.id.as_str()) else {
                self.say(7, &name(&row.id), "it has a row, and no event in the topic");
                continue;
            };
            let of_video = rows.remove(row.id.as_str()).unwrap_or_default();
            let expected = timeline.video(NOW);
            if expected != Some((row.revision, &row.video())) {
                let what = format!("its row is {:?} at revision {}, not {expected:?}", row.video(), row.revision);
                self.say(7, &name(&row.id), what);
            }
            let numbers = (row.ready_revision, row.version);
            if numbers != (timeline.ready, timeline.version) {
                let expected = (timeline.ready, timeline.version);
                self.say(7, &name(&row.id), format!("its row is ready and of version {numbers:?}, not {expected:?}"));
            }
            let here: BTreeMap<&str, (i64, Placement)> = timeline
                .all(NOW)
                .into_iter()
                .map(|(id, version, placement)| (id, (version, placement.clone())))
                .collect();
            if row.placements != here.len() {
                let what = format!("its row counts {} placements, and it has {}", row.placements, here.len());
                self.say(7, &name(&row.id), what);
            }
            let found: BTreeMap<&str, (i64, Placement)> = of_video
                .iter()
                .filter(|(_, row)| !row.deleted)
                .map(|(id, row)| (*id, (row.version, row.placement())))
                .collect();
            let all: BTreeSet<&str> = here.keys().chain(found.keys()).copied().collect();
            for id in all.into_iter().filter(|id| here.get(id) != found.get(id)) {
                let (row_, expected) = (found.get(id), here.get(id));
                self.say(7, &name(&row.id), format!("the placement {id} has the row {row_:?}, not {expected:?}"));
            }
        }
        for video in rows.keys() {
            self.say(7, &name(video), "placements have rows, and their video has none");
        }
        for (video, timeline) in placed.timelines.iter().filter(|(video, _)| !videos.contains(*video)) {
            if timeline.video(NOW).is_some() {
                self.say(7, &name(video), "it is in the topic, and has no row");
            }
        }
    }

    /// A video that was read is as it was at the revision that the answer names.
    pub(super) fn videos_that_were_read(&mut self, placed: &Placed<'_>) {
        for read in &placed.observed.videos {
            let timeline = placed.timelines.get(read.video.as_str());
            let place = timeline.and_then(|timeline| timeline.place_of(read.revision));
            let Some((timeline, place)) = timeline.zip(place) else {
                if !placed.may_be_lost(&Span { from: read.from, to: read.to }) {
                    let what = format!("it was read at revision {}, which no event made", read.revision);
                    self.say(7, &name(&read.video), what);
                }
                continue;
            };
            let expected = timeline
                .video(place)
                .map(|(_, video)| (video.title.as_str(), video.duration_ms, timeline.all(place).len()));
            let found = (read.title.as_str(), read.duration_ms, read.placements);
            let is_another = placed.may_be_another(&read.video, read.revision, &Span { from: read.from, to: read.to });
            if (expected != Some(found) && !is_another) || read.ready_revision > read.revision {
                let (revision, ready) = (read.revision, read.ready_revision);
                let what = format!("it was read at revision {revision}, ready {ready}, as {found:?}, not {expected:?}");
                self.say(7, &name(&read.video), what);
            }
        }
    }
}
