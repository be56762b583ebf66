//! Editors make videos and place products into them, each by commands with an Idempotency-Key; readers poll videos, files
//! and validations.

mod asks;
mod campaigns;
mod reader;
mod request;

use std::time::Duration;

use serde_json::{Value, json};

use self::request::Request;
use super::{Client, count, lock};
use crate::history::placements::{Ask, Tried};

/// How many editors there are.
pub(super) const EDITORS: usize = 12;
/// How many readers poll.
pub(super) const READERS: usize = 3;
/// One command in this many is given up after an answer that is not certain.
const GIVEN_UP: usize = 8;
/// One try in this many is sent to both APIs at once.
const AT_ONCE: usize = 12;
/// One decided command in this many is sent again with its key.
const REPEATS: usize = 5;
/// One in this many: its key is sent with another command.
const REUSES: usize = 15;

/// What editors know that there is.
#[derive(Debug, Default)]
pub(super) struct Board {
    videos: Vec<String>,
    placements: Vec<Known>,
    /// The newest last.
    validations: Vec<String>,
    /// Campaigns that end soon, or have ended.
    campaigns: Vec<i64>,
}

/// A placement, and the version that was last seen of it.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    video: String,
    version: i64,
}

impl Board {
    fn forget_video(&mut self, video: &str) {
        self.videos.retain(|known| known != video);
        self.placements.retain(|known| known.video != video);
    }

    /// Notes what the answer to a command says.
    fn learn(&mut self, tried: &Tried) {
        let text = |name: &str| tried.answered(name).and_then(|value| value.as_str().map(ToOwned::to_owned));
        let known = |value: &Value| {
            let text = |name: &str| value.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
            Some(Known { id: text("id")?, video: text("videoId")?, version: value.get("version")?.as_i64()? })
        };
        let is_gone = tried.status == 404;
        match &tried.ask {
            Ask::CreateVideo { .. } => self.videos.extend(text("id").filter(|_| tried.is_done())),
            Ask::Place { video, .. }
            | Ask::PlaceMany { video, .. }
            | Ask::ChangeVideo { video, .. }
            | Ask::Validate { video }
                if is_gone =>
            {
                self.forget_video(video);
            }
            Ask::Place { .. } => {
                let placed = serde_json::from_str(&tried.body).ok().and_then(|body| known(&body));
                self.placements.extend(placed.filter(|_| tried.is_done()));
            }
            Ask::PlaceMany { .. } => {
                let placed = tried.answered("placements");
                self.placements
                    .extend(placed.as_ref().and_then(Value::as_array).into_iter().flatten().filter_map(known));
            }
            Ask::ChangePlacement { placement, .. } | Ask::DeletePlacement { placement, .. } => {
                let is_deleted = tried.is_done() && matches!(tried.ask, Ask::DeletePlacement { .. });
                if is_gone || is_deleted {
                    self.placements.retain(|known| known.id != *placement);
                } else if let Some(version) = tried.answered("version").and_then(|version| version.as_i64())
                    && let Some(known) = self.placements.iter_mut().find(|known| known.id == *placement)
                {
                    known.version = known.version.max(version);
                }
            }
            Ask::Validate { .. } => self.validations.extend(text("id").filter(|_| tried.is_done())),
            Ask::ChangeVideo { .. } => {}
        }
    }
}

impl Client {
    pub(super) async fn edit(self, number: usize, mut random: fastrand::Rng) {
        if !self.set_products().await {
            return;
        }
        let mut made = 0;
        while !self.stopped() {
            if let Some(ask) = self.next_ask(&mut random).await {
                made += 1;
                self.command(format!("editor-{number}-{made}"), ask, &mut random).await;
            }
            let pause = self.pause(&mut random, 20..400);
            self.wait(pause).await;
        }
    }

    /// Sends a command until its answer is certain, and sometimes again.
    async fn command(&self, key: String, ask: Ask, random: &mut fastrand::Rng) {
        let is_given_up = random.usize(..GIVEN_UP) == 0;
        let tried = loop {
            let tried = self.try_once(&key, &ask, random).await;
            if tried.is_certain() {
                break tried;
            }
            count(&self.counts.commands_failed, 1);
            if is_given_up || self.stopped() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(random.u64(50..400))).await;
        };
        lock(&self.board).learn(&tried);
        if tried.is_done() {
            count(&self.counts.commands, 1);
        }
        if tried.code.as_deref() == Some("precondition_failed") {
            self.look_again(&ask, random).await;
        }
        if random.usize(..REPEATS) == 0 {
            self.try_once(&key, &ask, random).await;
        }
        if tried.is_kept() && random.usize(..REUSES) == 0 {
            let other = Ask::CreateVideo { body: json!({"title": "of a key that is used", "durationMs": 1_000}) };
            self.try_on(self.api(random), &key, &other, true).await;
        }
    }

    /// One try, or two at once; returns one whose answer is certain, if there is one.
    async fn try_once(&self, key: &str, ask: &Ask, random: &mut fastrand::Rng) -> Tried {
        let api = self.api(random);
        if random.usize(..AT_ONCE) > 0 {
            return self.try_on(api, key, ask, false).await;
        }
        let other = (api + 1) % self.world.urls.len().max(1);
        let (one, other) = tokio::join!(self.try_on(api, key, ask, false), self.try_on(other, key, ask, false));
        if one.is_certain() { one } else { other }
    }

    fn api(&self, random: &mut fastrand::Rng) -> usize {
        random.usize(..self.world.urls.len().max(1))
    }

    /// Sends it to this API, and records the try.
    async fn try_on(&self, api: usize, key: &str, ask: &Ask, reuses: bool) -> Tried {
        let from = self.began.elapsed();
        let answer = Request::of(ask).send(self, api, key, reuses).await.unwrap_or_default();
        let tried = Tried {
            key: key.to_owned(),
            ask: ask.clone(),
            reuses,
            from,
            to: self.began.elapsed(),
            api,
            status: answer.status,
            code: answer.code,
            replayed: answer.replayed,
            etag: answer.etag,
            location: answer.location,
            body: answer.body,
        };
        lock(&self.history).placements.tries.push(tried.clone());
        tried
    }
}
