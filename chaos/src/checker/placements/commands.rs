//! Promise 7: what commands were answered, and which events they have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::Found;
use super::Placed;
use super::model::{Placement, Video};
use super::timeline::Timeline;
use crate::history::placements::{Ask, DomainRecord, Tried};

/// What all uses of a key were.
#[derive(Default)]
struct Command<'a> {
    tries: Vec<&'a Tried>,
    /// Other commands that used its key later.
    others: Vec<&'a Tried>,
}

impl Found {
    pub(super) fn commands(&mut self, placed: &Placed<'_>) {
        let mut commands: BTreeMap<&str, Command<'_>> = BTreeMap::new();
        for tried in &placed.observed.tries {
            let command = commands.entry(&tried.key).or_default();
            if tried.reuses { command.others.push(tried) } else { command.tries.push(tried) }
        }
        for (key, command) in &commands {
            let Some(first) = command.tries.first() else { continue };
            let name = format!("command {key}");
            let events = placed.caused.get(key).map(Vec::as_slice).unwrap_or_default();
            let mut all = command.tries.iter().chain(&command.others);
            if all.any(|tried| placed.may_be_lost(&tried.span())) {
                continue;
            }
            self.one_answer(&name, &command.tries);
            self.refused_for_nothing(placed, &name, &command.tries);
            let done = command.tries.iter().find(|tried| tried.is_done());
            let refused = command.tries.iter().find(|tried| tried.is_refused());
            let wrong = match (done, refused) {
                (Some(done), _) => placed.wrong_events(done, events).or_else(|| placed.wrong_answer(done, events)),
                (None, Some(refused)) if !events.is_empty() => {
                    Some(format!("it was answered {}, and has {} events", refused.status, events.len()))
                }
                // Nobody knows, and it has none.
                (None, _) if events.is_empty() => None,
                (None, _) => placed.wrong_events(first, events),
            };
            if let Some(wrong) = wrong {
                self.say(7, &name, wrong);
            }
            for other in command.others.iter().filter(|other| other.is_certain()) {
                if other.code.as_deref() != Some("key_reused") {
                    let (status, code) = (other.status, &other.code);
                    self.say(7, &name, format!("another command with its key was answered {status} {code:?}"));
                }
            }
        }
        for (correlation, events) in placed.caused.iter().filter(|(key, _)| !commands.contains_key(*key)) {
            let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
            self.say(7, &format!("command {correlation}"), format!("nobody sent it, and it has {}", kinds.join(", ")));
        }
        self.follow(placed);
    }

    /// A key has one answer. Only one of those which are kept was not the repetition of an earlier one.
    fn one_answer(&mut self, name: &str, tries: &[&Tried]) {
        let certain: Vec<_> = tries.iter().filter(|tried| tried.is_certain()).collect();
        for pair in certain.windows(2) {
            let [a, b] = pair else { continue };
            let both_kept = a.is_kept() && b.is_kept();
            let answer = |tried: &Tried| (tried.etag.clone(), tried.location.clone(), tried.body.clone());
            if (a.status, &a.code) != (b.status, &b.code) {
                let what = format!("it was answered {} {:?} and {} {:?}", a.status, a.code, b.status, b.code);
                self.say(7, name, what);
            } else if both_kept && answer(a) != answer(b) {
                self.say(7, name, format!("it was answered {:?} and {:?}", answer(a), answer(b)));
            }
        }
        let anew = certain.iter().filter(|tried| tried.is_kept() && !tried.replayed).count();
        if anew > 1 {
            self.say(7, name, format!("it was decided {anew} times"));
        }
    }

    /// A video, or a placement, that was there before, and is there at the end, was there meanwhile.
    fn refused_for_nothing(&mut self, placed: &Placed<'_>, name: &str, tries: &[&Tried]) {
        let not_found =
            tries.iter().filter(|tried| tried.code.as_deref().is_some_and(|code| code.ends_with("_not_found")));
        for tried in not_found {
            let (id, is_there) = match &tried.ask {
                Ask::ChangePlacement { placement, .. } | Ask::DeletePlacement { placement, .. } => {
                    (placement, placed.end.placements.iter().any(|row| row.id == *placement && !row.deleted))
                }
                Ask::ChangeVideo { video, .. }
                | Ask::Place { video, .. }
                | Ask::PlaceMany { video, .. }
                | Ask::Validate { video } => (video, placed.end.videos.iter().any(|row| row.id == *video)),
                Ask::CreateVideo { .. } => continue,
            };
            let was_made =
                |other: &&Tried| other.to <= tried.from && other.is_done() && other.body.contains(id.as_str());
            if is_there && placed.observed.tries.iter().any(|other| was_made(&other)) {
                self.say(7, name, format!("it was answered 404, and {id} was there"));
            }
        }
    }

    /// An event that follows from another one names it, and has its correlation id.
    fn follow(&mut self, placed: &Placed<'_>) {
        let records: BTreeMap<&str, &DomainRecord> =
            placed.end.records.iter().map(|record| (record.id.as_str(), record)).collect();
        let asked: BTreeSet<&str> = placed.observed.tries.iter().map(|tried| tried.key.as_str()).collect();
        for (id, record) in &records {
            let Some(cause) = record.causation.as_deref() else { continue };
            let correlation = record.correlation.as_deref().unwrap_or_default();
            let found = records.get(cause);
            if found.is_none_or(|found| found.correlation != record.correlation || found.key != record.key) {
                let name = format!("command {correlation}");
                self.say(7, &name, format!("event {id}, {}, follows from {cause}, which is not its own", record.kind));
            } else if !asked.contains(correlation) {
                self.say(
                    7,
                    &format!("command {correlation}"),
                    format!("nobody sent it, and it led to {}", record.kind),
                );
            }
        }
    }
}

impl Placed<'_> {
    fn timeline(&self, video: &str) -> Option<&Timeline<'_>> {
        self.timelines.get(video)
    }

    /// What is wrong with the events of a command that was done.
    fn wrong_events(&self, tried: &Tried, events: &[&DomainRecord]) -> Option<String> {
        if events.is_empty() {
            return (!self.changes_nothing(tried))
                .then(|| format!("it was answered {}, and has no event", tried.status));
        }
        let (kind, video, count) = match &tried.ask {
            Ask::CreateVideo { .. } => ("video.created", None, 1),
            Ask::ChangeVideo { video, .. } => ("video.updated", Some(video.as_str()), 1),
            Ask::Place { video, .. } => ("placement.created", Some(video.as_str()), 1),
            Ask::PlaceMany { video, bodies } => ("placement.created", Some(video.as_str()), bodies.len()),
            Ask::ChangePlacement { placement, .. } => ("placement.updated", self.home(placement), 1),
            Ask::DeletePlacement { placement, .. } => ("placement.deleted", self.home(placement), 1),
            Ask::Validate { video } => ("video.validation_requested", Some(video.as_str()), 1),
        };
        let of_it = |event: &&&DomainRecord| event.kind == kind && video.is_none_or(|video| event.key == video);
        let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
        if events.len() != count || events.iter().filter(of_it).count() != count {
            return Some(format!("it has {} events of {count}: {}", events.len(), kinds.join(", ")));
        }
        let gaps = events.windows(2).any(|pair| matches!(pair, [a, b] if a.sequence.map(|a| a + 1) != b.sequence));
        if gaps {
            return Some("other events are between its own".to_owned());
        }
        let bodies = match &tried.ask {
            Ask::PlaceMany { bodies, .. } => bodies.iter().collect(),
            Ask::Place { body, .. } | Ask::CreateVideo { body } => vec![body],
            _ => Vec::new(),
        };
        for (event, body) in events.iter().zip(bodies) {
            let is_so = match &tried.ask {
                Ask::CreateVideo { .. } => Video::of(body).is_some() && Video::of(&event.data) == Video::of(body),
                _ => Placement::of(body).is_some() && Placement::of(&event.data) == Placement::of(body),
            };
            if !is_so {
                return Some(format!("{body} became {}", event.data));
            }
        }
        events.first().and_then(|event| self.wrong_change(&tried.ask, event))
    }

    /// What is wrong with the event of a change: it is of the state that `If-Match` named, and of no later one.
    fn wrong_change(&self, ask: &Ask, event: &DomainRecord) -> Option<String> {
        let number = event.sequence.unwrap_or_default();
        let before = 2 * number - 1;
        match ask {
            Ask::ChangeVideo { video, version, body } => {
                let Some((revision, video)) = self.timeline(video).and_then(|timeline| timeline.video(before)) else {
                    return Some("it changed a video that was not there".to_owned());
                };
                if !(revision..number).contains(version) {
                    return Some(format!("it named version {version}, and changed revision {revision}"));
                }
                let expected = video.patched(body);
                (Video::of(&event.data) != expected).then(|| format!("it made {}, not {expected:?}", event.data))
            }
            Ask::ChangePlacement { placement, version, .. } | Ask::DeletePlacement { placement, version } => {
                if event.data.get("placementId").and_then(Value::as_str) != Some(placement) {
                    return Some(format!("it changed {}, not {placement}", event.data));
                }
                let old = self.timeline(&event.key).and_then(|timeline| timeline.placement(placement, before));
                let Some((found, old)) = old else { return Some("it changed a placement that was not there".into()) };
                if found != *version {
                    return Some(format!("it named version {version}, and changed version {found}"));
                }
                let Ask::ChangePlacement { body, .. } = ask else { return None };
                let expected = old.patched(body);
                (Placement::of(&event.data) != expected).then(|| format!("it made {}, not {expected:?}", event.data))
            }
            Ask::CreateVideo { .. } | Ask::Place { .. } | Ask::PlaceMany { .. } | Ask::Validate { .. } => None,
        }
    }

    fn home(&self, placement: &str) -> Option<&str> {
        self.homes.get(placement).copied()
    }

    /// Whether a command was a change without a difference, which has no event.
    fn changes_nothing(&self, tried: &Tried) -> bool {
        match &tried.ask {
            Ask::ChangeVideo { video, body, .. } => {
                let revision = tried.answered("revision").and_then(|revision| revision.as_i64()).unwrap_or_default();
                let timeline = self.timeline(video);
                let place = timeline.and_then(|timeline| timeline.place_of(revision));
                let found = timeline.zip(place).and_then(|(timeline, place)| timeline.video(place));
                found.is_some_and(|(_, video)| video.patched(body).as_ref() == Some(video))
            }
            Ask::ChangePlacement { placement, version, body } => {
                let timeline = self.home(placement).and_then(|video| self.timeline(video));
                let found = timeline.and_then(|timeline| timeline.version_of(placement, *version));
                found.is_some_and(|found| found.patched(body).as_ref() == Some(found))
            }
            _ => false,
        }
    }
}
