//! Promise 5, and promise 3 as readers see it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::staleness::StalenessAllowance;
use super::{Device, Found};
use crate::history::{Commit, End, History, Read};

impl Found {
    pub(super) fn reads(&mut self, history: &History, devices: &BTreeMap<&str, Device<'_>>) {
        let unknown = Device::default();
        for (name, reads) in by_device(&history.reads) {
            self.states(devices.get(name).unwrap_or(&unknown), name, &reads);
        }
        self.freshness(history, devices);
    }

    /// No read is older than the fence, or than an earlier read.
    pub(super) fn freshness(&mut self, history: &History, devices: &BTreeMap<&str, Device<'_>>) {
        let mut commits: Vec<_> = history.commits.iter().collect();
        commits.sort_by_key(|commit| commit.at);
        let allowances = StalenessAllowance::all(history);
        let unknown = Device::default();
        for (name, reads) in by_device(&history.reads) {
            let device = devices.get(name).unwrap_or(&unknown);
            let of_device = allowances.iter().filter_map(|allowance| allowance.of_device(history, device));
            let of_device: Vec<_> = of_device.collect();
            let mut judged = Vec::with_capacity(reads.len());
            for read in reads {
                let excused = of_device.iter().filter_map(|allowed| allowed.since(read)).min();
                let since = excused.unwrap_or(read.from);
                judged.push((since, read));
                let known = commits.partition_point(|commit| commit.at < since);
                let commit = known.checked_sub(1).and_then(|last| commits.get(last));
                let has_fence = commit.is_some_and(|commit| self.fenced(device, read, commit));
                self.judged.excused += usize::from(excused.is_some());
                self.judged.strict += usize::from(excused.is_none() && has_fence);
            }
            self.went_back(name, judged);
        }
    }

    /// A read that started after a commit was seen shows everything before that commit. An excused read shows
    /// everything committed before its excuse began. Returns whether anything was fenced.
    fn fenced(&mut self, device: &Device<'_>, read: &Read, commit: &Commit) -> bool {
        let is_fenced = |partition, offset| commit.offsets.get(&partition).is_some_and(|committed| offset < *committed);
        let fenced = device.applied().filter(|row| is_fenced(row.partition, row.offset)).count();
        let fenced = i64::try_from(fenced).unwrap_or(i64::MAX);
        if read.version < fenced {
            let (version, from, at) = (read.version, seconds(read.from), seconds(commit.at));
            let what = format!("a read at {from} s gave version {version}, and {fenced} was fenced at {at} s");
            self.say(5, &read.device, what);
        }
        fenced > 0
    }

    /// After a version was read, no read returns an older one. A version that was read past the cache does not
    /// count: before its fence the cache does not have it. For an excused read, only versions read before its
    /// excuse began count.
    pub(super) fn went_back(&mut self, name: &str, mut judged: Vec<(Duration, &Read)>) {
        let mut answered: Vec<_> = judged.iter().map(|(_, read)| *read).filter(|read| !read.bypass).collect();
        answered.sort_by_key(|read| read.to);
        judged.sort_by_key(|(since, _)| *since);
        let mut before = answered.into_iter().peekable();
        let mut newest: Option<&Read> = None;
        for (since, read) in judged {
            while let Some(earlier) = before.next_if(|earlier| earlier.to < since) {
                if newest.is_none_or(|newest| newest.version < earlier.version) {
                    newest = Some(earlier);
                }
            }
            if let Some(newest) = newest.filter(|newest| newest.version > read.version) {
                let (from, to, version, seen) = (seconds(read.from), seconds(newest.to), read.version, newest.version);
                self.say(5, name, format!("a read at {from} s gave version {version}, and {seen} was read at {to} s"));
            }
        }
    }

    /// Version n is the state of the nth applied event in every read. If events have their effects
    /// concurrently, a version is still the state of exactly one event.
    fn states(&mut self, device: &Device<'_>, name: &str, reads: &[&Read]) {
        let applied: Vec<_> = device.applied().map(|row| row.id.as_str()).collect();
        let last = i64::try_from(applied.len()).unwrap_or(i64::MAX);
        let sent: BTreeMap<_, _> = device.sent.iter().map(|sent| (sent.id.as_str(), &sent.payload)).collect();
        let mut known: BTreeMap<i64, &str> = BTreeMap::new();
        if device.in_one_partition() {
            known.extend((1..).zip(applied));
        }
        for read in reads.iter().filter(|read| read.version > 0) {
            let (version, event) = (read.version, read.event.as_str());
            if version > last {
                self.say(2, name, format!("version {version} was read, and there never was one"));
                continue;
            }
            if sent.get(event).is_some_and(|payload| **payload != read.payload) {
                self.say(2, name, format!("event {event} was read as {}", read.payload));
            }
            let expected = *known.entry(version).or_insert(event);
            if expected != event {
                self.say(3, name, format!("version {version} was read as event {event}'s, and is event {expected}'s"));
            }
        }
    }

    pub(super) fn cache(&mut self, end: &End) {
        for (device, body) in &end.cached {
            match end.resources.get(device) {
                Some(resource) if resource.body == *body => {}
                // The cached marker for a missing resource.
                None if body == shared::cache::MISSING => {}
                Some(resource) => self.say(5, device, format!("cached is {body}, and the row is {}", resource.body)),
                None => self.say(5, device, format!("cached is {body}, and there is no row")),
            }
        }
    }
}

fn by_device(reads: &[Read]) -> BTreeMap<&str, Vec<&Read>> {
    let mut by_device: BTreeMap<&str, Vec<&Read>> = BTreeMap::new();
    for read in reads {
        by_device.entry(&read.device).or_default().push(read);
    }
    by_device
}

fn seconds(at: Duration) -> f64 {
    at.as_secs_f64()
}
