//! What is rendered, against a slow model and as other readers parse it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::placements::samples::{empty, placed, region, snapshots};

fn text(snapshot: &Snapshot, kind: FileKind) -> String {
    String::from_utf8(render(snapshot, kind)).unwrap()
}

/// A placement as JSON: serde sorts the members, and writes the shortest text of a double, as RFC 8785 demands.
fn placement_model(placed: &Placed) -> Value {
    let mut json = json!({
        "id": placed.id, "productId": placed.product.as_str(), "layer": placed.layer,
        "startMs": placed.range.start(), "endMs": placed.range.end(),
    });
    if let Some(campaign) = placed.campaign {
        json["campaignId"] = campaign.into();
    }
    if let Some(region) = placed.region {
        json["region"] = json!(region);
    }
    if let Some(label) = &placed.label {
        json["label"] = label.as_str().into();
    }
    json
}

fn model(snapshot: &Snapshot) -> Value {
    let mut placements = snapshot.placements.clone();
    placements.sort_by_key(|one| (one.range.start(), one.id));
    let video = &snapshot.video;
    let mut about = json!({"id": video.id, "title": video.title, "durationMs": video.duration_ms});
    if let Some(rate) = video.frame_rate {
        let frames = f64::from(rate) / 1_000.0;
        about["frameRate"] = if frames.fract() == 0.0 { json!(frames as u32) } else { json!(frames) };
    }
    let placements: Vec<_> = placements.iter().map(placement_model).collect();
    json!({"video": about, "revision": video.revision, "placements": placements})
}

/// A cue of WebVTT: its id, its times in milliseconds, and its text.
#[derive(Debug, PartialEq)]
struct Cue {
    id: String,
    start: u32,
    end: u32,
    text: Value,
}

/// Reads WebVTT as its specification says: blocks are separated by blank lines; a block with an arrow is a cue.
fn cues(text: &str) -> Vec<Cue> {
    let time = |text: &str| {
        let (clock, ms) = text.split_once('.').unwrap();
        let parts: Vec<u32> = clock.split(':').map(|part| part.parse().unwrap()).collect();
        let [hours, minutes, seconds] = parts[..] else { panic!("{text}") };
        assert!(clock.split(':').all(|part| part.len() == 2) && ms.len() == 3, "{text}");
        ((hours * 60 + minutes) * 60 + seconds) * 1_000 + ms.parse::<u32>().unwrap()
    };
    let mut blocks = text.split("\n\n");
    assert_eq!(blocks.next(), Some("WEBVTT"));
    assert!(blocks.next().unwrap().starts_with("NOTE revision "));
    let cue = |block: &str| {
        let lines: Vec<_> = block.lines().collect();
        let [id, times, text] = lines[..] else { panic!("{block:?}") };
        assert!(!text.contains(['<', '>', '&']), "{text}");
        let (start, end) = times.split_once(" --> ").unwrap();
        Cue { id: id.to_owned(), start: time(start), end: time(end), text: serde_json::from_str(text).unwrap() }
    };
    blocks.filter(|block| !block.is_empty()).map(cue).collect()
}

proptest! {
    #[test]
    fn json_is_what_a_slow_model_writes(snapshot in snapshots()) {
        prop_assert_eq!(text(&snapshot, FileKind::Json), model(&snapshot).to_string());
    }

    #[test]
    fn the_cues_are_the_placements_in_their_order(snapshot in snapshots()) {
        let json: Value = serde_json::from_str(&text(&snapshot, FileKind::Json)).unwrap();
        let of_json = |placed: &Value| Cue {
            id: placed["id"].as_str().unwrap().to_owned(),
            start: placed["startMs"].as_u64().unwrap().try_into().unwrap(),
            end: placed["endMs"].as_u64().unwrap().try_into().unwrap(),
            text: placed.clone(),
        };
        let expected: Vec<_> = json["placements"].as_array().unwrap().iter().map(of_json).collect();
        prop_assert_eq!(cues(&text(&snapshot, FileKind::Vtt)), expected);
    }

    #[test]
    fn the_order_in_which_they_were_read_does_not_show(snapshot in snapshots(), by in any::<usize>()) {
        let mut other = snapshot.clone();
        let by = by % (other.placements.len() + 1);
        other.placements.rotate_left(by);
        for kind in FileKind::ALL {
            prop_assert_eq!(render(&other, kind), render(&snapshot, kind));
        }
    }
}

#[test]
fn the_files_of_a_video() {
    let mut snapshot = empty();
    snapshot.video.frame_rate = Some(29_970);
    let cup = Placed { label: Some("a > b & \"c\"".to_owned()), campaign: Some(3), ..placed(1, 1_500, 86_400_000) };
    snapshot.placements = vec![cup, Placed { region: Some(region([0, 2_500, 10_000, 1])), ..placed(2, 0, 1_500) }];
    let [one, two, video] = [1, 2, 7].map(|n| format!("00000000-0000-0000-0000-{n:012}"));
    let json = format!(
        concat!(
            r#"{{"placements":[{{"endMs":1500,"id":"{two}","layer":0,"productId":"mug","#,
            r#""region":{{"height":0.0001,"width":1,"x":0,"y":0.25}},"startMs":0}},"#,
            r#"{{"campaignId":3,"endMs":86400000,"id":"{one}","label":"a > b & \"c\"","layer":0,"productId":"mug","#,
            r#""startMs":1500}}],"revision":9,"#,
            r#""video":{{"durationMs":60000,"frameRate":29.97,"id":"{video}","title":"film"}}}}"#,
        ),
        one = one,
        two = two,
        video = video,
    );
    assert_eq!(text(&snapshot, FileKind::Json), json);
    let vtt = format!(
        concat!(
            "WEBVTT\n\nNOTE revision 9\n\n{two}\n00:00:00.000 --> 00:00:01.500\n",
            r#"{{"endMs":1500,"id":"{two}","layer":0,"productId":"mug","#,
            r#""region":{{"height":0.0001,"width":1,"x":0,"y":0.25}},"startMs":0}}"#,
            "\n\n{one}\n00:00:01.500 --> 24:00:00.000\n",
            r#"{{"campaignId":3,"endMs":86400000,"id":"{one}","label":"a \u003e b \u0026 \"c\"","layer":0,"#,
            r#""productId":"mug","startMs":1500}}"#,
            "\n\n",
        ),
        one = one,
        two = two,
    );
    assert_eq!(text(&snapshot, FileKind::Vtt), vtt);
    snapshot.placements.clear();
    assert_eq!(text(&snapshot, FileKind::Vtt), "WEBVTT\n\nNOTE revision 9\n\n");
}

#[test]
fn a_kind_has_a_name_and_a_media_type() {
    for kind in FileKind::ALL {
        assert_eq!(FileKind::from_name(kind.as_str()), Some(kind));
        assert!(kind.file_name().ends_with(&format!(".{}", kind.as_str())));
    }
    assert_eq!(FileKind::from_name("srt"), None);
}
