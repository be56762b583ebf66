//! Promise 10: the files of videos.

use std::collections::BTreeMap;

use super::super::Found;
use super::{Placed, name, render};
use crate::history::Span;
use crate::history::placements::{FileRead, FileRow};
use crate::history::sha256;

/// A file of a video at a revision.
type Which<'a> = (&'a str, &'a str, i64);

impl Placed<'_> {
    /// The bytes that a file must have; `None` if the video never had this revision.
    fn file(&self, (video, kind, revision): Which<'_>) -> Option<String> {
        let timeline = self.timelines.get(video)?;
        let place = timeline.place_of(revision)?;
        render::file(kind, video, revision, timeline.video(place)?.1, &timeline.all(place))
    }
}

impl Found {
    pub(super) fn files(&mut self, placed: &Placed<'_>) {
        self.newest_files(placed);
        let mut hashes: BTreeMap<Which<'_>, Option<String>> = BTreeMap::new();
        for read in &placed.observed.files {
            let which = (read.video.as_str(), read.kind.as_str(), read.revision);
            let expected =
                hashes.entry(which).or_insert_with(|| placed.file(which).map(|bytes| sha256(bytes.as_bytes())));
            let name = name(&read.video);
            let Some(expected) = expected.as_deref() else {
                if !placed.may_be_lost(&Span { from: read.from, to: read.to }) {
                    let what = format!("its {} was read at revision {}, which it never had", read.kind, read.revision);
                    self.say(10, &name, what);
                }
                continue;
            };
            let is_expected = read.etag == expected && read.sha256.as_ref().is_none_or(|found| found == expected);
            let is_another = placed.may_be_another(&read.video, read.revision, &Span { from: read.from, to: read.to });
            if !is_expected && !is_another {
                let (kind, revision, etag, bytes) = (&read.kind, read.revision, &read.etag, &read.sha256);
                let what =
                    format!("its {kind} was read at revision {revision} as {etag}, bytes {bytes:?}, not {expected}");
                self.say(10, &name, what);
            }
        }
        self.falling(placed);
    }

    /// At the end, the files are those of the last revision, and the store has them.
    fn newest_files(&mut self, placed: &Placed<'_>) {
        let (videos, stored) = (&placed.end.videos, placed.end);
        let objects: BTreeMap<&str, &str> =
            stored.objects.iter().map(|object| (object.sha256.as_str(), object.content.as_str())).collect();
        for (video, kind) in videos.iter().flat_map(|video| ["json", "vtt"].map(|kind| (video, kind))) {
            let is_it = |file: &&FileRow| (file.video.as_str(), file.kind.as_str()) == (video.id.as_str(), kind);
            let Some(file) = stored.files.iter().find(is_it) else {
                self.say(10, &name(&video.id), format!("it has no {kind} at last"));
                continue;
            };
            let revisions = (file.revision, video.ready_revision);
            if revisions != (video.revision, video.revision) {
                let what = format!("at revision {} its {kind} and its row are of {revisions:?}", video.revision);
                self.say(10, &name(&video.id), what);
            }
            let Some(content) = objects.get(file.sha256.as_str()) else {
                self.say(10, &name(&video.id), format!("the store has not its {kind}, {}", file.sha256));
                continue;
            };
            let length = i64::try_from(content.len()).unwrap_or(i64::MAX);
            if sha256(content.as_bytes()) != file.sha256 || length != file.bytes {
                self.say(10, &name(&video.id), format!("its {kind} is damaged: {}", file.sha256));
            }
            let expected = placed.file((&video.id, kind, file.revision));
            if expected.as_deref() != Some(*content) {
                self.say(10, &name(&video.id), format!("its {kind} is {content}, not {expected:?}"));
            }
        }
    }

    /// A read that begins after another one ended has no lower revision, whoever read.
    fn falling(&mut self, placed: &Placed<'_>) {
        let mut reads: BTreeMap<(&str, &str), Vec<&FileRead>> = BTreeMap::new();
        for read in &placed.observed.files {
            reads.entry((&read.video, &read.kind)).or_default().push(read);
        }
        for ((video, kind), mut reads) in reads {
            let mut ended = reads.clone();
            ended.sort_by_key(|read| read.to);
            reads.sort_by_key(|read| read.from);
            let mut ended = ended.into_iter().peekable();
            let mut greatest: Option<&FileRead> = None;
            for read in reads {
                while let Some(before) = ended.next_if(|before| before.to < read.from) {
                    if greatest.is_none_or(|greatest| greatest.revision < before.revision) {
                        greatest = Some(before);
                    }
                }
                let Some(before) = greatest.filter(|before| before.revision > read.revision) else { continue };
                if !placed.may_be_lost(&Span { from: before.from, to: read.to }) {
                    let (revision, at) = (read.revision, read.from.as_secs_f64());
                    let what =
                        format!("its {kind} was read at {at:.3} s at revision {revision}, after {}", before.revision);
                    self.say(10, &name(video), what);
                }
            }
        }
    }
}
