//! A device sends its events, one or several at once. It repeats each until it is acknowledged, and some
//! again after that.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Client, count, lock};
use crate::history::{Place, Sent, brief};

/// One turn in this many sends an acknowledged event again.
const DUPLICATES: usize = 15;
/// One turn in this many sends several events at once.
const BATCHES: usize = 4;
/// One batch in this many has an item that is not a valid event.
const INVALID: usize = 8;
const BATCH: usize = 8;

/// A device that rests does so after one turn in this many, for [`REST`] milliseconds.
const RESTS: usize = 30;
const REST: Range<u64> = 3_000..12_000;
/// One device in [`LARGE_DEVICES`] has large payloads, in one of [`LARGE`] events, up to [`LARGEST`] bytes.
const LARGE_DEVICES: usize = 5;
const LARGE: usize = 8;
const LARGEST: usize = 64 * 1024;
/// The most bytes that surround a large payload's text.
const FRAME: usize = 32;

#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// `POST /events` with the first item only.
    Single,
    /// `POST /events/batch`, a JSON array.
    Array,
    /// `POST /events/batch`, NDJSON.
    Lines,
}

/// The number of an event; `None` for an invalid one, which must have no effect.
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

    /// Whether it is sometimes silent for seconds: meanwhile no later event makes up for a missing fence.
    fn rests(&self) -> bool {
        self.number.is_multiple_of(3)
    }

    fn body(&self, item: &Item) -> Value {
        match item {
            Some(n) => json!({"device_id": self.name, "event_id": n.to_string(), "payload": self.payload(*n)}),
            None => json!({"device_id": self.name, "event_id": "invalid", "payload": "not an object"}),
        }
    }

    /// The payload of its nth event: always the same for one n; some devices sometimes send a long text.
    fn payload(&self, n: usize) -> Value {
        if !self.number.is_multiple_of(LARGE_DEVICES) || !n.is_multiple_of(LARGE) {
            return json!({"n": n});
        }
        let mut random = fastrand::Rng::with_seed(self.number as u64 * 1_000_000 + n as u64);
        // Each power of two is equally likely; the text is random, so that it does not compress well.
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
    /// Sends the next events only when all earlier ones are acknowledged.
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

    /// Waits for this pause, or until the load stops.
    pub(super) async fn wait(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.stopped() && Instant::now() < until {
            tokio::time::sleep((until - Instant::now()).min(Duration::from_millis(200))).await;
        }
    }

    /// Posts once and records the sent and the acknowledged events. Returns the numbers of the acknowledged ones.
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

    /// Posts once and returns the indices of the accepted items.
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

/// The next post: either one of the remaining events, or all of them in order. A batch sometimes also has
/// one of them twice, an event that is already acknowledged, or an invalid one.
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
