//! A tracker posts impressions, clicks and conversions, one or several at once. It repeats each until the answer is
//! certain, and some again after that.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Client, count, lock};
use crate::history::ads::{AdKind, Try, nanos};

/// One turn in this many sends an accepted event again.
const REPEATS: usize = 6;
/// One refused event in this many is sent once more.
const TRIES_AGAIN: usize = 5;
/// One turn in this many sends several events at once.
const BATCHES: usize = 3;
const BATCH: usize = 8;
/// How many users see campaigns at a time, and after how many accepted events there is another one: so users reach
/// their caps however slow the services are, and however often Redis has forgotten them.
const USERS: usize = 4;
const NEW_USER: usize = 60;
/// With more events than this whose answer is not certain, a tracker makes few new ones.
const MOST_UNCERTAIN: usize = 40;
/// A refusal is not final if the client shall come again in fewer seconds.
const SOON: u64 = 5;
/// The accepted impressions that a tracker remembers, for clicks and repeats.
const REMEMBERED: usize = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `POST /ad-events`.
    Single,
    /// `POST /events/`, another path to the same.
    Alias,
    Array,
    Lines,
}

/// An event, the same at each try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    campaign: i64,
    user: String,
    kind: AdKind,
    id: String,
    impression: Option<String>,
    click: Option<String>,
}

impl Event {
    /// An impression by a user of its own.
    pub(super) fn probe(campaign: i64, kind: AdKind, impression: Option<String>) -> Self {
        let (user, id) = (format!("probe-{campaign}"), format!("probe-{}", kind.name()));
        Self { campaign, user, kind, id, impression, click: None }
    }

    /// An impression by the one user who reaches the cap at the end.
    pub(super) fn of_one_user(campaign: i64, number: usize) -> Self {
        let (user, id) = (format!("last-{campaign}"), format!("last-{number}"));
        Self { campaign, user, kind: AdKind::Impression, id, impression: None, click: None }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "campaign_id": self.campaign, "user_id": self.user, "event_type": self.kind.name(), "event_id": self.id,
            "impression_id": self.impression, "click_id": self.click
        });
        if let Some(members) = body.as_object_mut().filter(|_| self.kind == AdKind::Conversion) {
            members.insert("value".to_owned(), json!("0.3"));
        }
        body
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
    code: Option<String>,
}

/// What an answer says of an event.
#[derive(Default)]
struct Said {
    status: u16,
    code: Option<String>,
    day: Option<String>,
    cost: Option<i64>,
    retry_after: Option<u64>,
}

struct Tracker {
    number: usize,
    made: usize,
    /// Accepted events, the newest last.
    accepted: Vec<Event>,
    /// Events without an answer, or with one after which they may be sent again.
    uncertain: Vec<Event>,
}

impl Tracker {
    /// The next event of a campaign: about as many clicks as impressions, and fewer conversions.
    fn event(&mut self, campaign: i64, accepted: usize, random: &mut fastrand::Rng) -> Event {
        self.made += 1;
        let id = format!("{}-{}", self.number, self.made);
        let user = format!("user-{}", accepted / NEW_USER + random.usize(..USERS));
        let of_campaign = self.accepted.iter().filter(|event| event.campaign == campaign);
        let impressions: Vec<_> = of_campaign.filter(|event| event.kind == AdKind::Impression).collect();
        let seen = random.choice(&impressions).filter(|_| random.usize(..2) == 0);
        let Some(seen) = seen else {
            return Event { campaign, user, kind: AdKind::Impression, id, impression: None, click: None };
        };
        let kind = if random.usize(..3) == 0 { AdKind::Conversion } else { AdKind::Click };
        // Some name an impression that never was.
        let impression = Some(if random.usize(..10) == 0 { "none".to_owned() } else { seen.id.clone() });
        Event { campaign, user: seen.user.clone(), kind, id, impression, click: None }
    }

    fn remember(&mut self, event: &Event) {
        if self.accepted.len() >= REMEMBERED {
            self.accepted.remove(0);
        }
        self.accepted.push(event.clone());
    }
}

impl Client {
    pub(in crate::load) async fn track(self, number: usize, mut random: fastrand::Rng) {
        let mut tracker = Tracker { number, made: 0, accepted: Vec::new(), uncertain: Vec::new() };
        while !self.stopped() {
            if let Some(campaign) = self.campaign(&mut random) {
                let events = self.next_events(&mut tracker, campaign, &mut random);
                self.post_next(&mut tracker, events, &mut random).await;
                self.again(&tracker, &mut random).await;
            }
            let pause = self.pause(&mut random, 0..150);
            self.wait(pause).await;
        }
    }

    /// New events, one or several, or some of those whose answer was not certain. A campaign that takes no events for a
    /// while, because its caps are not known, does not keep others from theirs.
    fn next_events(&self, tracker: &mut Tracker, campaign: i64, random: &mut fastrand::Rng) -> Vec<Event> {
        let several = random.usize(..BATCHES) == 0;
        let events = if several { random.usize(2..=BATCH) } else { 1 };
        let has_many = tracker.uncertain.len() > MOST_UNCERTAIN;
        let again = if has_many { random.usize(..4) > 0 } else { random.bool() };
        if !tracker.uncertain.is_empty() && again {
            random.shuffle(&mut tracker.uncertain);
            return tracker.uncertain.split_off(tracker.uncertain.len().saturating_sub(events));
        }
        let accepted = self.counts.ads_accepted.load(Ordering::Relaxed);
        // A batch may have events of several campaigns.
        let campaigns = (0..events).map(|n| if n % 2 == 0 { Some(campaign) } else { self.campaign(random) });
        let campaigns: Vec<_> = campaigns.flatten().collect();
        campaigns.into_iter().map(|campaign| tracker.event(campaign, accepted, random)).collect()
    }

    /// Posts these events once, and keeps those whose answer is not certain.
    async fn post_next(&self, tracker: &mut Tracker, events: Vec<Event>, random: &mut fastrand::Rng) {
        let form = match (events.len(), random.bool()) {
            (1, true) => Form::Single,
            (1, false) => Form::Alias,
            (_, true) => Form::Array,
            (_, false) => Form::Lines,
        };
        let tries = self.post_ads(&events, form, random).await;
        for (event, one) in events.into_iter().zip(tries) {
            if one.is_accepted() {
                count(&self.counts.ads_accepted, 1);
                tracker.remember(&event);
            } else if !(400..500).contains(&one.status) || random.usize(..TRIES_AGAIN) == 0 {
                tracker.uncertain.push(event);
            }
        }
    }

    /// Sometimes sends an accepted event again.
    async fn again(&self, tracker: &Tracker, random: &mut fastrand::Rng) {
        if random.usize(..REPEATS) == 0
            && let Some(event) = random.choice(&tracker.accepted)
        {
            count(&self.counts.ads_repeated, 1);
            self.post_ads(std::slice::from_ref(event), Form::Single, random).await;
        }
    }

    /// Posts a probe until the answer is certain, or for some time.
    pub(super) async fn probe(&self, event: &Event, attempts: usize, random: &mut fastrand::Rng) -> Option<Try> {
        self.until_certain(event, attempts, true, random).await
    }

    /// The same for an event that proves nothing by itself.
    pub(super) async fn try_until_certain(
        &self,
        event: &Event,
        attempts: usize,
        random: &mut fastrand::Rng,
    ) -> Option<Try> {
        self.until_certain(event, attempts, false, random).await
    }

    async fn until_certain(
        &self,
        event: &Event,
        attempts: usize,
        is_probe: bool,
        random: &mut fastrand::Rng,
    ) -> Option<Try> {
        let mut last = None;
        for _ in 0..attempts {
            let tries = self.try_events(std::slice::from_ref(event), Form::Single, is_probe, random).await;
            last = tries.into_iter().next();
            // While the other API holds the last units, the answer is to come again soon.
            let comes_again = |one: &Try| one.retry_after.is_some_and(|seconds| seconds < SOON);
            if last.as_ref().is_some_and(|one| one.status > 0 && one.status < 500 && !comes_again(one)) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        last
    }

    async fn post_ads(&self, events: &[Event], form: Form, random: &mut fastrand::Rng) -> Vec<Try> {
        self.try_events(events, form, false, random).await
    }

    /// Posts once, and records a try of each event.
    async fn try_events(&self, events: &[Event], form: Form, probe: bool, random: &mut fastrand::Rng) -> Vec<Try> {
        let api = random.usize(..self.world.urls.len().max(1));
        let from = self.began.elapsed();
        let said = self.ask_ads(events, form, api).await;
        let to = self.began.elapsed();
        let tried = |(event, said): (&Event, Said)| Try {
            campaign: event.campaign,
            user: event.user.clone(),
            kind: event.kind,
            id: event.id.clone(),
            from,
            to,
            api,
            status: said.status,
            code: said.code,
            day: said.day,
            cost: said.cost,
            retry_after: said.retry_after,
            batched: matches!(form, Form::Array | Form::Lines),
            probe,
        };
        let tries: Vec<_> = events.iter().zip(said).map(tried).collect();
        lock(&self.history).ads.tries.extend(tries.iter().cloned());
        tries
    }

    /// What the answer says of each event.
    async fn ask_ads(&self, events: &[Event], form: Form, api: usize) -> Vec<Said> {
        let url = self.world.urls.get(api).map(String::as_str).unwrap_or_default();
        let bodies: Vec<_> = events.iter().map(Event::body).collect();
        let request = match form {
            Form::Single => self.http.post(format!("{url}/ad-events")).json(&bodies.first()),
            Form::Alias => self.http.post(format!("{url}/events/")).json(&bodies.first()),
            Form::Array => self.http.post(format!("{url}/ad-events/batch")).json(&bodies),
            Form::Lines => {
                let lines: String = bodies.iter().map(|body| format!("{body}\n")).collect();
                let request = self.http.post(format!("{url}/ad-events/batch"));
                request.header("content-type", "application/x-ndjson").body(lines)
            }
        };
        let none = || events.iter().map(|_| Said::default()).collect();
        let Ok(answer) = request.bearer_auth(&self.world.token).send().await else { return none() };
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let Ok(body) = answer.json::<Value>().await else { return none() };
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        if let (207, Ok(partial)) = (status, serde_json::from_value::<Partial>(body.clone())) {
            let mut all: Vec<Said> = none();
            for item in partial.items {
                if let Some(said) = all.get_mut(item.index) {
                    (said.status, said.code) = (item.status, item.code);
                }
            }
            return all;
        }
        let is_single = matches!(form, Form::Single | Form::Alias);
        let said = |_| Said {
            status,
            code: text("code"),
            day: text("day").filter(|_| is_single),
            cost: body.get("cost").and_then(nanos).filter(|_| is_single),
            retry_after: if is_single { retry_after } else { None },
        };
        events.iter().map(said).collect()
    }
}
