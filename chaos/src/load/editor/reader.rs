//! The readers of videos, files and validations.

use reqwest::Response;
use serde_json::Value;

use super::Known;
use crate::history::placements::{Ask, FileRead, ValidationRead, VideoRead};
use crate::history::sha256;
use crate::load::{Client, count, lock};

/// One read of a validation in this many is held until it is done.
const HELD: usize = 4;
/// Of the validations, the newest this many are read.
const NEWEST: usize = 12;

impl Client {
    pub(in crate::load) async fn read_placements(self, mut random: fastrand::Rng) {
        // The last tag of each file that this reader knows.
        let mut etags = std::collections::BTreeMap::new();
        while !self.stopped() {
            let (video, validation) = {
                let board = lock(&self.board);
                let newest =
                    board.validations.get(board.validations.len().saturating_sub(NEWEST)..).unwrap_or_default();
                (random.choice(&board.videos).cloned(), random.choice(newest).cloned())
            };
            if let Some(video) = video {
                if random.bool() {
                    self.read_video(&video, &mut random).await;
                } else {
                    let kind = if random.bool() { "json" } else { "vtt" };
                    let known = etags.entry((video.clone(), kind)).or_default();
                    self.read_file(&video, kind, known, &mut random).await;
                }
            }
            if let Some(validation) = validation.filter(|_| random.bool()) {
                self.read_validation(&validation, &mut random).await;
            }
            tokio::time::sleep(self.pause(&mut random, 20..90)).await;
        }
    }

    async fn get(&self, path: &str, header: Option<(&str, String)>, random: &mut fastrand::Rng) -> Option<Response> {
        let request = self.http.get(format!("{}{path}", self.url(random))).bearer_auth(&self.world.token);
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        request.send().await.ok()
    }

    async fn read_video(&self, video: &str, random: &mut fastrand::Rng) -> Option<()> {
        let from = self.began.elapsed();
        let answer = self.get(&format!("/videos/{video}"), None, random).await?;
        if answer.status().as_u16() != 200 {
            return None;
        }
        let body: Value = answer.json().await.ok()?;
        let number = |name: &str| body.get(name).and_then(Value::as_i64);
        let read = VideoRead {
            video: video.to_owned(),
            from,
            to: self.began.elapsed(),
            revision: number("revision")?,
            ready_revision: number("readyRevision")?,
            title: body.get("title")?.as_str()?.to_owned(),
            duration_ms: number("durationMs")?,
            placements: usize::try_from(number("placements")?).ok()?,
        };
        lock(&self.history).placements.videos.push(read);
        count(&self.counts.placement_reads, 1);
        Some(())
    }

    /// Reads a file, sometimes only if it is not the one that is known.
    async fn read_file(&self, video: &str, kind: &str, known: &mut String, random: &mut fastrand::Rng) -> Option<()> {
        let from = self.began.elapsed();
        let condition = (!known.is_empty() && random.bool()).then(|| ("if-none-match", format!("\"{known}\"")));
        let answer = self.get(&format!("/videos/{video}/files/placements.{kind}"), condition, random).await?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let (etag, revision) = (header("etag"), header("x-revision"));
        let sha256 = match answer.status().as_u16() {
            200 => Some(sha256(&answer.bytes().await.ok()?)),
            304 => None,
            _ => return None,
        };
        let read = FileRead {
            video: video.to_owned(),
            kind: kind.to_owned(),
            from,
            to: self.began.elapsed(),
            revision: revision?.parse().ok()?,
            etag: etag?.trim_matches('"').to_owned(),
            sha256,
        };
        known.clone_from(&read.etag);
        lock(&self.history).placements.files.push(read);
        count(&self.counts.placement_reads, 1);
        Some(())
    }

    async fn read_validation(&self, validation: &str, random: &mut fastrand::Rng) -> Option<()> {
        let from = self.began.elapsed();
        let held = (random.usize(..HELD) == 0).then(|| ("prefer", "wait=2".to_owned()));
        let answer = self.get(&format!("/validations/{validation}"), held, random).await?;
        if answer.status().as_u16() != 200 {
            return None;
        }
        let body: Value = answer.json().await.ok()?;
        let read = ValidationRead {
            validation: validation.to_owned(),
            from,
            to: self.began.elapsed(),
            status: body.get("status")?.as_str()?.to_owned(),
            revision: body.get("revision")?.as_i64()?,
            findings: body.get("findings").filter(|findings| !findings.is_null()).cloned(),
        };
        lock(&self.history).placements.validations.push(read);
        Some(())
    }

    /// The version in the entity tag of what is there.
    pub(super) async fn version_of(&self, path: &str, random: &mut fastrand::Rng) -> Option<i64> {
        let answer = self.get(path, None, random).await?;
        let tag = answer.headers().get("etag")?.to_str().ok()?.trim_matches('"').to_owned();
        tag.split('-').next()?.parse().ok()
    }

    /// After a placement was not at the version that was named: which version it has, or that it is gone.
    pub(super) async fn look_again(&self, ask: &Ask, random: &mut fastrand::Rng) {
        let (Ask::ChangePlacement { placement, .. } | Ask::DeletePlacement { placement, .. }) = ask else { return };
        let path = format!("/placements/{placement}");
        let Some(answer) = self.get(&path, None, random).await else { return };
        let is_gone = answer.status().as_u16() == 404;
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(|tag| tag.trim_matches('"'));
        let version = tag.and_then(|tag| tag.parse().ok());
        let mut board = lock(&self.board);
        if is_gone {
            board.placements.retain(|known| known.id != *placement);
        } else if let Some(version) = version
            && let Some(known) = board.placements.iter_mut().find(|known| known.id == *placement)
        {
            let Known { version: last, .. } = known;
            *last = version;
        }
    }
}
