//! A device: sends its events, one or several at once, each until it is acknowledged, and some
//! again after that.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Client, count, lock};
use crate::history::{Place, Sent, brief};

/// Of so many turns one sends an acknowledged event again.
const DUPLICATES: usize = 15;
/// Of so many turns one sends several events at once.
const BATCHES: usize = 4;
/// Of so many batches one has an item that is no event.
const INVALID: usize = 8;
const BATCH: usize = 8;

/// Of so many turns a device that rests has a rest behind one, in milliseconds.
const RESTS: usize = 30;
const REST: Range<u64> = 3_000..12_000;
/// Of so many devices one has large payloads, for one of so many events, up to so many bytes.
const LARGE_DEVICES: usize = 5;
const LARGE: usize = 8;
const LARGEST: usize = 64 * 1024;
/// What is around a large payload's text, at most.
const FRAME: usize = 32;

#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// `POST /events`, of the first alone.
    Single,
    /// `POST /events/batch`, a JSON array.
    Array,
    /// `POST /events/batch`, a line each.
    Lines,
}

/// The number of an event; none of what is no event, and must have no effect.
type Item = Option<usize>;

#[derive(Debug)]
pub(super) struct Device {
    name: String,
    number: usize,
}

impl Device {
    pub(super) fn new(number: usize) -> Self {
        Self { name: format!("device-{number}"), number }
    }

    /// Whether it is silent for seconds at times: nothing that it sends later makes up for a fence
    /// that never came.
    fn rests(&self) -> bool {
        self.number.is_multiple_of(3)
    }

    fn body(&self, item: &Item) -> Value {
        match item {
            Some(n) => json!({"device_id": self.name, "event_id": n.to_string(), "payload": self.payload(*n)}),
            None => json!({"device_id": self.name, "event_id": "invalid", "payload": "not an object"}),
        }
    }

    /// What its nth event reports: always the same, and of some devices sometimes a long text.
    fn payload(&self, n: usize) -> Value {
        if !self.number.is_multiple_of(LARGE_DEVICES) || !n.is_multiple_of(LARGE) {
            return json!({"n": n});
        }
        let mut random = fastrand::Rng::with_seed(self.number as u64 * 1_000_000 + n as u64);
        // As many of each order of magnitude, and random, so that nobody can pack it.
        let length = 1 << random.u32(10..=LARGEST.ilog2());
        let length = random.usize(length / 2..=length) - FRAME;
        json!({"n": n, "text": std::iter::repeat_with(|| random.alphanumeric()).take(length).collect::<String>()})
    }
}

#[derive(Deserialize)]
struct Partial {
    items: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    index: usize,
    status: u16,
}

impl Client {
    /// The next events are sent only when all before are acknowledged.
    pub(super) async fn send(self, device: Device, mut random: fastrand::Rng) {
        let (mut known, mut posts) = (0, 0);
        while !self.stopped() {
            let new = if random.usize(..BATCHES) == 0 { random.usize(2..=BATCH) } else { 1 };
            let mut left: BTreeSet<usize> = (known + 1..=known + new).collect();
            while !left.is_empty() {
                let (form, items) = compose(&left, known, &mut random);
                let numbers: Vec<_> = items.iter().flatten().collect();
                let distinct: BTreeSet<_> = numbers.iter().filter(|n| left.contains(**n)).collect();
                count(&self.counts.duplicates, numbers.len() - distinct.len());
                posts += 1;
                let accepted = self.post(&device, posts, form, &items, &mut random).await;
                count(&self.counts.accepted, left.intersection(&accepted).count());
                left.retain(|n| !accepted.contains(n));
                if self.stopped() {
                    return;
                }
                if !left.is_empty() {
                    tokio::time::sleep(Duration::from_millis(random.u64(20..200))).await;
                }
            }
            known += new;
            if random.usize(..DUPLICATES) == 0 {
                posts += 1;
                let again = Some(random.usize(1..=known));
                count(&self.counts.duplicates, 1);
                self.post(&device, posts, Form::Single, &[again], &mut random).await;
            }
            let rests = device.rests() && random.usize(..RESTS) == 0;
            let pause = if rests { Duration::from_millis(random.u64(REST)) } else { self.pause(&mut random, 0..120) };
            self.wait(pause).await;
        }
    }

    /// Waits for so long, or until it is told to end.
    async fn wait(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.stopped() && Instant::now() < until {
            tokio::time::sleep((until - Instant::now()).min(Duration::from_millis(200))).await;
        }
    }

    /// Posts once, and writes down what is sent and what was acknowledged: tells the numbers.
    async fn post(
        &self,
        device: &Device,
        post: usize,
        form: Form,
        items: &[Item],
        random: &mut fastrand::Rng,
    ) -> BTreeSet<usize> {
        self.note_sent(device, post, items);
        let accepted = self.indices(device, form, items, random).await;
        let accepted: Vec<_> = items.iter().enumerate().filter(|(index, _)| accepted.contains(index)).collect();
        self.note_acknowledged(device, post, &accepted);
        accepted.into_iter().filter_map(|(_, item)| *item).collect()
    }

    /// Posts once, and tells the indices of what was accepted.
    async fn indices(
        &self,
        device: &Device,
        form: Form,
        items: &[Item],
        random: &mut fastrand::Rng,
    ) -> BTreeSet<usize> {
        let bodies: Vec<_> = items.iter().map(|item| device.body(item)).collect();
        let url = self.url(random);
        let request = match &form {
            Form::Single => self.http.post(format!("{url}/events")).json(&bodies.first()),
            Form::Array => self.http.post(format!("{url}/events/batch")).json(&bodies),
            Form::Lines => {
                let lines: String = bodies.iter().map(|body| format!("{body}\n")).collect();
                let request = self.http.post(format!("{url}/events/batch"));
                request.header("content-type", "application/x-ndjson").body(lines)
            }
        };
        count(&self.counts.batches, usize::from(form != Form::Single));
        if let Ok(answer) = request.bearer_auth(&self.world.token).send().await {
            match answer.status().as_u16() {
                202 => return (0..items.len()).collect(),
                207 => {
                    if let Ok(partial) = answer.json::<Partial>().await {
                        count(&self.counts.partial, 1);
                        let accepted = partial.items.iter().filter(|item| item.status == 202);
                        return accepted.map(|item| item.index).collect();
                    }
                }
                _ => {}
            }
        }
        count(&self.counts.failed, 1);
        BTreeSet::new()
    }

    fn note_sent(&self, device: &Device, post: usize, items: &[Item]) {
        let at = self.began.elapsed();
        let mut history = lock(&self.history);
        let sent = history.sent.entry(device.name.clone()).or_default();
        for (index, item) in items.iter().enumerate() {
            let Some(n) = *item else { continue };
            match sent.get_mut(n - 1) {
                Some(sent) => sent.times += 1,
                None => sent.push(Sent {
                    id: n.to_string(),
                    payload: brief(device.payload(n)),
                    first: Place { post, index, at },
                    acknowledged: None,
                    times: 1,
                }),
            }
        }
    }

    fn note_acknowledged(&self, device: &Device, post: usize, accepted: &[(usize, &Item)]) {
        let at = self.began.elapsed();
        let mut history = lock(&self.history);
        let Some(sent) = history.sent.get_mut(&device.name) else { return };
        for (index, item) in accepted {
            if let Some(sent) = item.and_then(|n| sent.get_mut(n - 1)) {
                sent.acknowledged.get_or_insert(Place { post, index: *index, at });
            }
        }
    }
}

/// What to post so that these events arrive: one of them alone, or all in their order, and with
/// them sometimes one of them twice, one that was acknowledged before, and one that is no event.
fn compose(left: &BTreeSet<usize>, known: usize, random: &mut fastrand::Rng) -> (Form, Vec<Item>) {
    let mut items: Vec<_> = left.iter().copied().map(Some).collect();
    if random.usize(..BATCHES) > 0 && (items.len() == 1 || random.usize(..BATCHES) == 0) {
        items.truncate(1);
        return (Form::Single, items);
    }
    if random.usize(..DUPLICATES) == 0 {
        items.push(random.choice(left).copied());
    }
    if known > 0 && random.usize(..DUPLICATES) == 0 {
        items.insert(0, Some(random.usize(1..=known)));
    }
    if random.usize(..INVALID) == 0 {
        items.insert(random.usize(..=items.len()), None);
    }
    (if random.bool() { Form::Array } else { Form::Lines }, items)
}
