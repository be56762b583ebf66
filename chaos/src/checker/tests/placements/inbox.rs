//! Promise 9.

use super::*;

fn find<'a>(end: &'a mut PlacementsEnd, subscriber: &str, event: &str) -> &'a mut InboxRow {
    end.inbox.iter_mut().find(|row| row.subscriber == subscriber && row.event == event).unwrap()
}

#[test]
fn an_event_is_taken_once() {
    says(&[9], "9 subscriber files: event v-9 was taken twice", |_, end| {
        let row = find(end, "files", "v-9").clone();
        end.inbox.push(row);
    });
    for subscriber in ["read-model", "files"] {
        says(
            &[9],
            &format!("9 subscriber {subscriber}: event v-9, placement.deleted, number 9 of v, was not"),
            |_, end| {
                end.inbox.retain(|row| row.subscriber != subscriber || row.event != "v-9");
            },
        );
    }
    says(&[9], "subscriber validator: event v-6, video.validation_requested", |_, end| {
        end.inbox.retain(|row| row.event != "v-6" || row.subscriber != "validator");
    });
}

#[test]
fn nothing_else_is_taken() {
    says(&[9], "event x was taken, and is not in the topic", |_, end| {
        let row = InboxRow { event: "x".into(), ..find(end, "files", "v-9").clone() };
        end.inbox.push(row);
    });
    says(&[9], "event v-7 was taken, which is of the type video.files_generated", |_, end| {
        let record = record_of(end, 7).clone();
        end.inbox.push(taken("files", &record, 0));
    });
    says(&[9], "event v-9 was taken as number Some(8) of v", |_, end| find(end, "files", "v-9").sequence = Some(8));
    says(&[9], "event v-9 was taken by nobody that is known", |_, end| {
        let record = record_of(end, 9).clone();
        end.inbox.push(taken("feed", &record, 0));
    });
}

#[test]
fn nothing_is_left_behind() {
    says(&[9], "9 group: event \"v-9\" of v is a dead letter (failed: why)", |_, end| {
        end.letters.push(DomainLetter {
            key: "v".into(),
            id: "v-9".into(),
            group: "group".into(),
            reason: "failed".into(),
            error: "why".into(),
        });
    });
    says(&[9], "subscriber files: partition 3 is committed up to 7 for good, and ends at 9", |_, end| {
        end.left.push(LeftBehind { subscriber: "files".into(), partition: 3, committed: 7, end: 9 });
    });
}
