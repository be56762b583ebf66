//! Promise 9: each subscriber has taken each event of its types once.

use std::collections::{BTreeMap, BTreeSet};

use worker_service::consumer::handler::Handler;
use worker_service::placements::files::Files;
use worker_service::placements::read_model::ReadModel;
use worker_service::placements::validator::Validator;
use worker_service::source::HandlerSpec;

use super::super::Found;
use crate::history::placements::{DomainRecord, PlacementsEnd};

/// The subscribers of the topic.
pub(super) const SUBSCRIBERS: [HandlerSpec; 3] = [ReadModel::SPEC, Files::SPEC, Validator::SPEC];
/// What the types of all events begin with.
const PREFIX: &str = "com.nedlia.";

fn takes(subscriber: &HandlerSpec, record: &DomainRecord) -> bool {
    subscriber.types.iter().any(|name| name.strip_prefix(PREFIX) == Some(record.kind.as_str()))
}

impl Found {
    pub(super) fn inbox(&mut self, end: &PlacementsEnd) {
        let records: BTreeMap<&str, &DomainRecord> =
            end.records.iter().filter(|record| !record.redriven).map(|record| (record.id.as_str(), record)).collect();
        for subscriber in &SUBSCRIBERS {
            let name = format!("subscriber {}", subscriber.name);
            let mut taken = BTreeSet::new();
            for row in end.inbox.iter().filter(|row| row.subscriber == subscriber.name) {
                let (event, number) = (&row.event, row.sequence);
                if !taken.insert(event.as_str()) {
                    self.say(9, &name, format!("event {event} was taken twice"));
                }
                match records.get(event.as_str()) {
                    None => self.say(9, &name, format!("event {event} was taken, and is not in the topic")),
                    Some(record) if !takes(subscriber, record) => {
                        self.say(9, &name, format!("event {event} was taken, which is of the type {}", record.kind));
                    }
                    Some(record) if (&record.key, record.sequence) != (&row.aggregate, number) => {
                        let what = format!("event {event} was taken as number {number:?} of {}", row.aggregate);
                        self.say(9, &name, what);
                    }
                    Some(_) => {}
                }
            }
            for (id, record) in records.iter().filter(|(_, record)| takes(subscriber, record)) {
                if !taken.contains(id) {
                    let number = record.sequence.unwrap_or_default();
                    let what = format!("event {id}, {}, number {number} of {}, was not taken", record.kind, record.key);
                    self.say(9, &name, what);
                }
            }
        }
        for row in end.inbox.iter().filter(|row| SUBSCRIBERS.iter().all(|known| known.name != row.subscriber)) {
            self.say(9, &row.subscriber, format!("event {} was taken by nobody that is known", row.event));
        }
        for letter in &end.letters {
            let (id, reason, error) = (&letter.id, &letter.reason, &letter.error);
            self.say(9, &letter.group, format!("event {id:?} of {} is a dead letter ({reason}: {error})", letter.key));
        }
        for left in &end.left {
            let (partition, committed, end) = (left.partition, left.committed, left.end);
            let what = format!("partition {partition} is committed up to {committed} for good, and ends at {end}");
            self.say(9, &format!("subscriber {}", left.subscriber), what);
        }
    }
}
