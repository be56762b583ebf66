//! The files of a video, made by another renderer than the product's: JSON by a library for RFC 8785.

use serde_json::{Map, Value, json};

use super::model::{Placement, Video};
use super::timeline::Here;

/// The bytes of a file of this kind; `None` of an unknown kind.
pub(super) fn file(kind: &str, id: &str, revision: i64, video: &Video, placements: &[Here<'_>]) -> Option<String> {
    let mut placements = placements.to_vec();
    placements.sort_by(|(a, _, one), (b, _, other)| one.start.cmp(&other.start).then_with(|| a.cmp(b)));
    match kind {
        "json" => json_file(id, revision, video, &placements),
        "vtt" => vtt_file(revision, &placements),
        _ => None,
    }
}

fn canonical(value: &Value) -> Option<String> {
    serde_json_canonicalizer::to_string(value).ok()
}

fn placement(id: &str, placement: &Placement) -> Value {
    let mut value = placement.json();
    if let Value::Object(members) = &mut value {
        members.insert("id".to_owned(), id.into());
    }
    without_nulls(value)
}

fn without_nulls(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let members: Map<_, _> = members.into_iter().filter(|(_, value)| !value.is_null()).collect();
    Value::Object(members)
}

fn json_file(id: &str, revision: i64, video: &Video, placements: &[Here<'_>]) -> Option<String> {
    let Video { title, duration_ms, frame_rate } = video;
    let frame_rate = frame_rate.map(|rate| rate as f64 / 1_000.0);
    let video = json!({"id": id, "title": title, "durationMs": duration_ms, "frameRate": frame_rate});
    let placements: Vec<_> = placements.iter().map(|(id, _, it)| placement(id, it)).collect();
    canonical(&json!({"video": without_nulls(video), "placements": placements, "revision": revision}))
}

fn vtt_file(revision: i64, placements: &[Here<'_>]) -> Option<String> {
    let mut blocks = vec!["WEBVTT".to_owned(), format!("NOTE revision {revision}")];
    for (id, _, it) in placements {
        let mut text = String::new();
        for character in canonical(&placement(id, it))?.chars() {
            match character {
                '<' | '>' | '&' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
                other => text.push(other),
            }
        }
        blocks.push(format!("{id}\n{} --> {}\n{text}", clock(it.start), clock(it.end)));
    }
    Some(blocks.into_iter().map(|block| block + "\n\n").collect())
}

fn clock(millis: i64) -> String {
    let (hours, rest) = (millis / 3_600_000, millis % 3_600_000);
    format!("{hours:02}:{:02}:{:02}.{:03}", rest / 60_000, rest % 60_000 / 1_000, rest % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files() {
        let video = Video { title: "a \"b\" ü".into(), duration_ms: 7_200_000, frame_rate: Some(29_970) };
        let first = Placement {
            product: "mug".into(),
            campaign: Some(7),
            start: 3_661_001,
            end: 3_662_000,
            layer: 2,
            region: Some([0, 2_500, 10_000, 3_333]),
            label: Some("<b> & ü".into()),
        };
        let second = Placement { campaign: None, region: None, label: None, start: 0, layer: 0, ..first.clone() };
        let all = [("b", 1, &first), ("a", 2, &second)];
        let json = concat!(
            r#"{"placements":[{"endMs":3662000,"id":"a","layer":0,"productId":"mug","startMs":0},"#,
            r#"{"campaignId":7,"endMs":3662000,"id":"b","label":"<b> & ü","layer":2,"productId":"mug","#,
            r#""region":{"height":0.3333,"width":1,"x":0,"y":0.25},"startMs":3661001}],"revision":9,"#,
            r#""video":{"durationMs":7200000,"frameRate":29.97,"id":"v","title":"a \"b\" ü"}}"#
        );
        assert_eq!(file("json", "v", 9, &video, &all).unwrap(), json);
        let vtt = concat!(
            "WEBVTT\n\nNOTE revision 9\n\na\n00:00:00.000 --> 01:01:02.000\n",
            r#"{"endMs":3662000,"id":"a","layer":0,"productId":"mug","startMs":0}"#,
            "\n\nb\n01:01:01.001 --> 01:01:02.000\n",
            r#"{"campaignId":7,"endMs":3662000,"id":"b","label":"\u003cb\u003e \u0026 ü","layer":2,"productId":"mug","#,
            r#""region":{"height":0.3333,"width":1,"x":0,"y":0.25},"startMs":3661001}"#,
            "\n\n"
        );
        assert_eq!(file("vtt", "v", 9, &video, &all).unwrap(), vtt);
        assert_eq!(file("svg", "v", 9, &video, &all), None);
    }
}
