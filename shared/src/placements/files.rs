//! The files that players read, made of a snapshot. The same snapshot gives the same bytes, whoever makes them: JSON is
//! canonical (RFC 8785), and WebVTT has one cue a placement, whose text is the placement's JSON.

#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

use super::snapshot::Snapshot;
use super::values::decimal;
use super::{Placed, Region};
use crate::runtime::named::named;

named!(
    /// A kind of file.
    #[derive(PartialOrd, Ord)]
    pub FileKind {
        /// JSON.
        Json = "json",
        /// WebVTT, a track of metadata.
        Vtt = "vtt",
    }
);

impl FileKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Json, Self::Vtt];

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Vtt => "text/vtt; charset=utf-8",
        }
    }

    /// Its name in a path.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Json => "placements.json",
            Self::Vtt => "placements.vtt",
        }
    }
}

/// The bytes of a file: placements are sorted by start and id.
pub fn render(snapshot: &Snapshot, kind: FileKind) -> Vec<u8> {
    let mut placements: Vec<_> = snapshot.placements.iter().collect();
    placements.sort_unstable_by_key(|placed| (placed.range.start(), placed.id));
    match kind {
        FileKind::Json => json(snapshot, &placements),
        FileKind::Vtt => vtt(snapshot, &placements),
    }
    .into_bytes()
}

fn json(snapshot: &Snapshot, placements: &[&Placed]) -> String {
    let video = &snapshot.video;
    let mut about = Object::new();
    about.raw("durationMs", video.duration_ms);
    about.optional("frameRate", video.frame_rate.map(|rate| decimal(rate, 3)));
    about.text("id", &video.id.to_string());
    about.text("title", &video.title);
    let about = about.end();
    let placements: Vec<_> = placements.iter().map(|placed| placement(placed)).collect();
    let mut file = Object::new();
    file.raw("placements", format_args!("[{}]", placements.join(",")));
    file.raw("revision", video.revision);
    file.raw("video", about);
    file.end()
}

/// A file without placements has no cue.
fn vtt(snapshot: &Snapshot, placements: &[&Placed]) -> String {
    let mut file = format!("WEBVTT\n\nNOTE revision {}\n\n", snapshot.video.revision);
    for placed in placements {
        let (start, end) = (Clock(placed.range.start()), Clock(placed.range.end()));
        // `-->` in the text would end the cue, and `<` and `&` would begin a tag or a reference. JSON has these
        // characters only in strings, where an escape means the same.
        let text = placement(placed).replace('<', r"\u003c").replace('>', r"\u003e").replace('&', r"\u0026");
        let _ = write!(file, "{}\n{start} --> {end}\n{text}\n\n", placed.id);
    }
    file
}

fn placement(placed: &Placed) -> String {
    let mut object = Object::new();
    object.optional("campaignId", placed.campaign);
    object.raw("endMs", placed.range.end());
    object.text("id", &placed.id.to_string());
    if let Some(label) = &placed.label {
        object.text("label", label);
    }
    object.raw("layer", placed.layer);
    object.text("productId", placed.product.as_str());
    object.optional("region", placed.region.map(region));
    object.raw("startMs", placed.range.start());
    object.end()
}

fn region(region: Region) -> String {
    let mut object = Object::new();
    object.raw("height", region.height());
    object.raw("width", region.width());
    object.raw("x", region.x());
    object.raw("y", region.y());
    object.end()
}

/// A JSON object, whose members must be added in the order of their names. Members that are absent are left out.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn raw(&mut self, name: &str, value: impl fmt::Display) {
        let comma = if self.0.len() > 1 { "," } else { "" };
        let _ = write!(self.0, "{comma}\"{name}\":{value}");
    }

    fn optional(&mut self, name: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.raw(name, value);
        }
    }

    /// serde escapes as RFC 8785 demands: only what must be, `\u00xx` in lower case, and the short forms.
    fn text(&mut self, name: &str, text: &str) {
        self.raw(name, serde_json::Value::from(text));
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A time of WebVTT: `00:00:01.500`.
struct Clock(u32);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ms) = self;
        let (seconds, ms) = (ms / 1_000, ms % 1_000);
        write!(f, "{:02}:{:02}:{:02}.{ms:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
    }
}
