//! Promises 7 to 10, of commands and of what follows from them:
//!
//! | promise | what holds |
//! |---|---|
//! | 7 | a command that was answered 2xx has its rows and exactly its events, one that was refused has none, one without an answer has all of them or none; a key has one answer |
//! | 8 | the numbers of an aggregate's records are 1, 2, 3 and so on, in the order of the topic, and nothing waits for ever |
//! | 9 | each subscriber has taken each event of its types once, and no other; none became a dead letter |
//! | 10 | the bytes of a file, and the findings of a validation, are those of the video at its revision; a file's revision never falls; every validation ends |
//!
//! The state of a video at any of its revisions is replayed from the topic. What is compared with it are the rows, what
//! clients read, the files and the findings, each made anew by code of this checker, never by the product's: a mistake
//! that both had would not show.
//!
//! Where PostgreSQL was restored to an earlier time, commands that overlap with what was lost may have lost their rows,
//! and their events if these were not published yet; promises 8 and 9 have no such exception.

mod answers;
mod campaigns;
mod commands;
mod files;
mod inbox;
mod model;
mod numbers;
mod render;
mod rows;
mod timeline;
mod validate;
mod validations;

use std::collections::BTreeMap;

use self::timeline::{Timeline, replay};
use super::Found;
use crate::history::placements::{DomainRecord, Placements, PlacementsEnd};
use crate::history::{End, History, Span};

/// What is known of placements, by what it is about.
struct Placed<'a> {
    observed: &'a Placements,
    end: &'a PlacementsEnd,
    /// By video.
    timelines: BTreeMap<&'a str, Timeline<'a>>,
    /// The events of commands, not those that follow from other events, by correlation id; ordered by number.
    caused: BTreeMap<&'a str, Vec<&'a DomainRecord>>,
    /// The video of each placement that ever was.
    homes: BTreeMap<&'a str, &'a str>,
}

impl Placed<'_> {
    /// Whether PostgreSQL may have lost what happened at this time.
    fn may_be_lost(&self, span: &Span) -> bool {
        self.observed.restored.iter().any(|restored| restored.span.meets(span))
    }

    /// Whether a read at this time may be of a revision that PostgreSQL has lost, unpublished, and that the video has had
    /// again since, as another one.
    fn may_be_another(&self, video: &str, revision: i64, span: &Span) -> bool {
        self.observed.restored.iter().any(|restored| {
            let last = restored.numbers.iter().find(|number| number.aggregate == video).map_or(0, |number| number.last);
            revision > last && restored.span.meets(span)
        })
    }
}

/// Whether this is the key of a campaign's records; all others are of videos.
fn is_campaign(key: &str) -> bool {
    key.starts_with("campaign-")
}

fn name(video: &str) -> String {
    format!("video {video}")
}

impl Found {
    pub(super) fn placements(&mut self, history: &History, end: &End) {
        let (observed, stored) = (&history.placements, &end.placements);
        let mut by_key: BTreeMap<&str, Vec<&DomainRecord>> = BTreeMap::new();
        for record in stored.records.iter().filter(|record| !record.redriven) {
            by_key.entry(&record.key).or_default().push(record);
        }
        for records in by_key.values_mut() {
            records.sort_by_key(|record| (record.partition, record.offset));
        }
        self.numbers(&by_key, stored);
        let mut placed = Placed {
            observed,
            end: stored,
            timelines: BTreeMap::new(),
            caused: BTreeMap::new(),
            homes: BTreeMap::new(),
        };
        for (key, records) in by_key.into_iter().filter(|(key, _)| !is_campaign(key)) {
            let mut wrong = Vec::new();
            let timeline = replay(key, records, &observed.restored, &mut wrong);
            for what in wrong {
                self.say(7, &name(key), what);
            }
            placed.homes.extend(timeline.placements().map(|placement| (placement, key)));
            for record in timeline.records().filter(|record| record.causation.is_none()) {
                let correlation = record.correlation.as_deref().unwrap_or_default();
                placed.caused.entry(correlation).or_default().push(record);
            }
            placed.timelines.insert(key, timeline);
        }
        self.rows_of_videos(&placed);
        self.commands(&placed);
        self.videos_that_were_read(&placed);
        self.campaigns_told(&placed, &end.ads, history.ads.began);
        self.inbox(stored);
        self.files(&placed);
        self.validations(&placed);
    }
}
