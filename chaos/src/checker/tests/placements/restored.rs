//! PostgreSQL was restored to an earlier time.

use super::*;

/// At 60 s it was restored to 50 s, when the video had revision 9: the placement `p4` is lost, but not its events. After
/// that, `p1` was deleted.
fn restored(observed: &mut Placements, end: &mut PlacementsEnd) {
    let saved = SavedVideo { id: "v".into(), revision: 9, ready_revision: 9, version: 10 };
    observed.restored = vec![Restored {
        span: span(50, 60),
        videos: vec![saved],
        numbers: vec![Number { aggregate: "v".into(), last: 12 }],
    }];
    let deleted = json!({"placementId": "p1", "videoId": "v", "productId": "mug", "revision": 13});
    let more = [event("v", 13, "placement.deleted", "c20", deleted), files_generated(14, 13, 13, "c20")];
    end.inbox.extend(inbox(&more));
    end.records.extend(more);
    observed.tries.push(tried("c20", 70, Ask::DeletePlacement { placement: "p1".into(), version: 5 }, 204));
    end.numbers.iter_mut().find(|number| number.aggregate == "v").unwrap().last = 14;
    end.placements = vec![row("p1", 13, p1_changed(), true), row("p2", 9, p2(), true), row("p3", 4, p3(), false)];
    let video = &mut end.videos[0];
    (video.revision, video.ready_revision, video.version, video.placements) = (13, 13, 14, 1);
    let json = concat!(
        r#"{"placements":[{"campaignId":7,"endMs":3000,"id":"p3","layer":0,"productId":"none","startMs":2000}],"#,
        r#""revision":13,"video":{"durationMs":60000,"frameRate":25,"id":"v","title":"a \"title\""}}"#
    );
    let vtt = concat!(
        "WEBVTT\n\nNOTE revision 13\n\np3\n00:00:02.000 --> 00:00:03.000\n",
        r#"{"campaignId":7,"endMs":3000,"id":"p3","layer":0,"productId":"none","startMs":2000}"#,
        "\n\n"
    );
    for ((file, object), content) in end.files.iter_mut().zip(&mut end.objects).zip([json, vtt]) {
        let hash = sha256(content.as_bytes());
        (object.content, object.sha256, file.sha256) = (content.into(), hash.clone(), hash);
        (file.revision, file.bytes) = (13, i64::try_from(content.len()).unwrap());
    }
    observed.files.push(read("json", 80, 13, json));
}

#[test]
fn what_was_lost_is_lost_and_no_number_is_used_again() {
    assert_eq!(said(restored), [""; 0]);
    says(&[7], "video v: the placement p4 has the row Some", |observed, end| {
        restored(observed, end);
        end.placements.push(row("p4", 11, p4(), false));
        end.videos[0].placements = 1;
    });
    says(&[8, 9], "8 v: after number 11 comes 13", |observed, end| {
        restored(observed, end);
        end.records.retain(|record| record.sequence != Some(12) || record.key != "v");
    });
}

#[test]
fn what_overlaps_with_it_may_be_lost_and_nothing_else() {
    let lost = |at_: u64| {
        move |observed: &mut Placements, end: &mut PlacementsEnd| {
            restored(observed, end);
            let ask = Ask::Place { video: "v".into(), body: p4() };
            observed.tries.push(done("c21", at_, ask, 201, 15, body("p9", p4())));
        }
    };
    assert_eq!(said(lost(55)), [""; 0]);
    says(&[7], "command c21: it was answered 201, and has no event", lost(40));
    says(&[7], "command c21: it was answered 201, and has no event", lost(61));
    let older = |at_: u64| {
        move |observed: &mut Placements, end: &mut PlacementsEnd| {
            restored(observed, end);
            observed.files.retain(|read| read.revision < 13);
            observed.files.push(read("json", at_, 5, JSON_5));
        }
    };
    assert_eq!(said(older(61)), [""; 0], "files were restored, too");
    says(&[10], "at revision 5, after 11", older(40));
}

/// What was read of it was lost before it was published, and its number is that of another revision now.
#[test]
fn a_revision_that_was_lost_may_come_again_as_another_one() {
    let lost = |revision: i64, from: u64| {
        move |observed: &mut Placements, end: &mut PlacementsEnd| {
            restored(observed, end);
            observed.videos.truncate(1);
            let read = &mut observed.videos[0];
            (read.revision, read.ready_revision, read.placements) = (revision, 9, 7);
            (read.from, read.to) = (at(from), at(from) + Duration::from_millis(10));
        }
    };
    assert_eq!(said(lost(13, 55)), [""; 0]);
    says(&[7], "it was read at revision 13, ready 9, as", lost(13, 61));
    says(&[7], "it was read at revision 11, ready 9, as", lost(11, 55));
    let file = |from: u64| {
        move |observed: &mut Placements, end: &mut PlacementsEnd| {
            restored(observed, end);
            observed.files = vec![read("json", from, 13, JSON_5)];
        }
    };
    assert_eq!(said(file(55)), [""; 0]);
    says(&[10], "was read at revision 13 as", file(61));
}

/// It had ended between the copy and the restoration, and runs again.
#[test]
fn a_validation_ends_again() {
    let again = |read_at: u64| {
        move |observed: &mut Placements, end: &mut PlacementsEnd| {
            restored(observed, end);
            let findings = json!(findings().as_array().unwrap()[1..]);
            let data = json!({
                "validationId": "w", "videoId": "v", "revision": 13, "status": "succeeded", "errors": 2, "warnings": 0
            });
            let completed = event("v", 15, "video.validation_completed", "c5", data);
            let completed = DomainRecord { causation: Some("v-6".into()), ..completed };
            end.inbox.push(taken("read-model", &completed, 0));
            end.records.push(completed);
            end.numbers.iter_mut().find(|number| number.aggregate == "v").unwrap().last = 15;
            let row = &mut end.validations[0];
            (row.revision, row.version, row.findings) = (13, 30, Some(findings));
            observed.validations[1].from = at(read_at);
            observed.validations[1].to = at(read_at);
        }
    };
    assert_eq!(said(again(55)), [""; 0]);
    says(&[10], "it was read as succeeded of revision 5", again(61));
    says(&[10], "it was ended by 2 events", |observed, end| {
        let copy = record_of(end, 8).data.clone();
        let completed = event("v", 13, "video.validation_completed", "c5", copy);
        let completed = DomainRecord { causation: Some("v-6".into()), ..completed };
        end.inbox.push(taken("read-model", &completed, 0));
        end.records.push(completed);
        end.numbers.iter_mut().find(|number| number.aggregate == "v").unwrap().last = 13;
        end.validations[0].version = 26;
        observed.validations.pop();
    });
}
