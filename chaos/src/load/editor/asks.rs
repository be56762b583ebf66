//! What editors ask for.

use serde_json::{Value, json};
use shared::placements::VideoId;

use super::Known;
use crate::history::placements::Ask;
use crate::load::{Client, lock};

/// With this many videos, editors make no more.
const VIDEOS: usize = 8;
/// A video with this many placements gets no more: the checker compares each with each.
const MOST_PLACEMENTS: usize = 120;
/// The products, and whether they are active; `none` is placed, and does not exist.
const PRODUCTS: [(&str, bool); 3] = [("mug", true), ("cup", true), ("old", false)];
const NO_PRODUCT: &str = "none";
/// No campaign has this id.
const NO_CAMPAIGN: i64 = 999_999_999_999;
/// Texts that JSON or WebVTT must escape.
const WORDS: [&str; 6] = ["a mug", "--> \"cue\"", "<b>&amp;</b>", "ü, 漢字 😀", "back\\slash / slash", "\u{2028}line"];
const FRAME_RATES: [f64; 4] = [24.0, 25.0, 29.97, 23.976];
/// A third of a second to eight, in milliseconds.
const LASTS: std::ops::Range<i64> = 300..8_000;
const MOST_AT_ONCE: usize = 6;
/// One change in this many names an earlier version than the last one.
const STALE: usize = 8;

impl Client {
    /// Sets the products, until they are there; whether they are.
    pub(super) async fn set_products(&self) -> bool {
        for (product, active) in PRODUCTS {
            while !self.set_product(product, active).await {
                if self.stopped() {
                    return false;
                }
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            }
        }
        true
    }

    async fn set_product(&self, product: &str, active: bool) -> bool {
        let Some(url) = self.world.urls.first() else { return false };
        let body = json!({"name": product, "active": active}).to_string();
        let request = self.http.put(format!("{url}/products/{product}")).header("content-type", "application/json");
        let answer = request.bearer_auth(&self.world.token).body(body).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// The next command; `None` if what it would be about is not there.
    pub(super) async fn next_ask(&self, random: &mut fastrand::Rng) -> Option<Ask> {
        let (videos, placed) = {
            let board = lock(&self.board);
            let placed = random.choice(&board.placements).cloned();
            (board.videos.clone(), placed)
        };
        if videos.is_empty() || videos.len() < VIDEOS && random.bool() {
            return Some(Ask::CreateVideo { body: video(random) });
        }
        let video = random.choice(&videos)?.clone();
        let is_full =
            lock(&self.board).placements.iter().filter(|known| known.video == video).count() >= MOST_PLACEMENTS;
        Some(match random.usize(..100) {
            0..50 if is_full => {
                let Known { id, version, .. } = placed?;
                Ask::DeletePlacement { placement: id, version }
            }
            0..38 => Ask::Place { video, body: self.placement(random) },
            38..50 => {
                let bodies = (0..random.usize(2..=MOST_AT_ONCE)).map(|_| self.placement(random)).collect();
                Ask::PlaceMany { video, bodies }
            }
            50..70 => {
                let Known { id, version, .. } = placed?;
                Ask::ChangePlacement {
                    placement: id,
                    version: named(version, random),
                    body: self.placement_change(random),
                }
            }
            70..78 => {
                let Known { id, version, .. } = placed?;
                Ask::DeletePlacement { placement: id, version: named(version, random) }
            }
            78..84 => {
                let version = self.version_of(&format!("/videos/{video}"), random).await?;
                Ask::ChangeVideo { video, version: named(version, random), body: video_change(random) }
            }
            84..92 => Ask::Validate { video },
            92..94 => Ask::Place { video: VideoId::generate().to_string(), body: self.placement(random) },
            // Of many at once, one is no placement: none is made.
            94..97 => {
                let mut bodies: Vec<_> = (0..MOST_AT_ONCE).map(|_| self.placement(random)).collect();
                if let Some(body) = bodies.get_mut(random.usize(..MOST_AT_ONCE)) {
                    *body = json!({"productId": "mug", "startMs": 7, "endMs": 7});
                }
                Ask::PlaceMany { video, bodies }
            }
            _ => {
                let Known { id, version, .. } = placed?;
                // It makes no difference; or the placement would end before it begins.
                let body = if random.bool() { json!({}) } else { json!({"startMs": 86_399_000}) };
                Ask::ChangePlacement { placement: id, version, body }
            }
        })
    }

    fn placement(&self, random: &mut fastrand::Rng) -> Value {
        let start = random.i64(0..600_000);
        let mut body = json!({
            "productId": product(random), "startMs": start, "endMs": start + random.i64(LASTS),
            "layer": random.u32(0..3)
        });
        let mut more = |name: &str, value: Value| {
            if let Value::Object(members) = &mut body {
                members.insert(name.to_owned(), value);
            }
        };
        if random.usize(..3) == 0 {
            more("region", region(random));
        }
        if random.usize(..3) == 0 {
            more("label", words(random));
        }
        if let Some(campaign) = self.campaign_placed(random) {
            more("campaignId", campaign.into());
        }
        body
    }

    fn campaign_placed(&self, random: &mut fastrand::Rng) -> Option<i64> {
        match random.usize(..12) {
            0 => Some(NO_CAMPAIGN),
            1 | 2 => {
                let board = lock(&self.board);
                random.choice(&board.campaigns).copied()
            }
            3 | 4 => self.campaign(random),
            _ => None,
        }
    }

    fn placement_change(&self, random: &mut fastrand::Rng) -> Value {
        let start = random.i64(0..600_000);
        match random.usize(..8) {
            0 => json!({"label": words(random)}),
            1 => json!({"label": null, "layer": null}),
            2 => json!({"layer": random.u32(0..3)}),
            3 => json!({"productId": product(random)}),
            4 => json!({"region": region(random)}),
            5 => json!({"region": null}),
            6 => json!({"campaignId": self.campaign_placed(random)}),
            _ => json!({"startMs": start, "endMs": start + random.i64(LASTS)}),
        }
    }
}

fn product(random: &mut fastrand::Rng) -> &'static str {
    match random.usize(..10) {
        0 => NO_PRODUCT,
        1 => "old",
        2..6 => "cup",
        _ => "mug",
    }
}

fn words(random: &mut fastrand::Rng) -> Value {
    json!(format!("{} {}", random.choice(WORDS).unwrap_or_default(), random.u32(..1_000)))
}

/// A part of the picture, with up to four decimals.
fn region(random: &mut fastrand::Rng) -> Value {
    let (width, height) = (random.u32(1..=10_000), random.u32(1..=10_000));
    let (x, y) = (random.u32(0..=10_000 - width), random.u32(0..=10_000 - height));
    let [x, y, width, height] = [x, y, width, height].map(|part| f64::from(part) / 10_000.0);
    json!({"x": x, "y": y, "width": width, "height": height})
}

fn video(random: &mut fastrand::Rng) -> Value {
    let mut body = json!({"title": words(random), "durationMs": random.u32(60_000..600_000)});
    if let (Value::Object(members), Some(rate), true) = (&mut body, random.choice(FRAME_RATES), random.bool()) {
        members.insert("frameRate".into(), rate.into());
    }
    body
}

fn video_change(random: &mut fastrand::Rng) -> Value {
    match random.usize(..4) {
        0 => json!({"title": words(random)}),
        1 => json!({"durationMs": random.u32(60_000..600_000)}),
        2 => json!({"frameRate": random.choice(FRAME_RATES)}),
        _ => json!({"frameRate": null}),
    }
}

/// Mostly this version, sometimes an earlier one.
fn named(version: i64, random: &mut fastrand::Rng) -> i64 {
    if random.usize(..STALE) == 0 { (version - random.i64(1..=9)).max(0) } else { version }
}
