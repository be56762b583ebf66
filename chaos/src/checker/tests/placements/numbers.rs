//! Promise 8.

use super::*;

/// The event is not in the topic; what it changed is left out, too.
fn lose_last(end: &mut PlacementsEnd, number: i64) {
    end.records.retain(|record| record.key != "v" || record.sequence != Some(number));
    end.inbox.retain(|row| row.aggregate != "v" || row.sequence != Some(number));
}

#[test]
fn a_gap() {
    says(&[8], "8 v: after number 9 comes 11", |_, end| lose_last(end, 10));
    says(&[7, 8], "8 v: the topic ends with number 11, and Some(12) is the last one taken", |_, end| {
        lose_last(end, 12)
    });
    says(&[8], "8 v: the topic ends with number 12, and Some(13) is", |_, end| {
        end.numbers.iter_mut().find(|number| number.aggregate == "v").unwrap().last = 13;
    });
    says(&[8], "8 x: number 1 is taken, and none is in the topic", |_, end| {
        end.numbers.push(Number { aggregate: "x".into(), last: 1 });
    });
}

#[test]
fn a_repetition() {
    let repeated = |end: &mut PlacementsEnd, id: &str| {
        let copy = DomainRecord { offset: 90, id: id.into(), ..record_of(end, 12).clone() };
        end.records.push(copy);
    };
    says(&[8], "number 12 is there again, at 90", |_, end| repeated(end, "v-12"));
    says(&[8], "event v-12, video.files_generated, is in the topic twice", |_, end| repeated(end, "v-12"));
    says(&[8, 9], "number 12 is there again", |_, end| repeated(end, "another"));
    let redriven = |_: &mut Placements, end: &mut PlacementsEnd| {
        repeated(end, "v-12");
        end.records.last_mut().unwrap().redriven = true;
    };
    assert_eq!(said(redriven), [""; 0], "a dead letter that was written again");
}

#[test]
fn an_inversion() {
    says(&[8], "number 9 comes behind 10", |_, end| record_of(end, 9).offset = 21);
    says(&[8], "its records are in several partitions", |_, end| record_of(end, 12).partition = 1);
}

#[test]
fn a_record_without_a_number_and_a_row_that_stays() {
    says(&[7, 8, 9], "event v-12, video.files_generated, has no number", |_, end| {
        record_of(end, 12).sequence = None;
    });
    says(&[8], "event e with number 13 was never published", |_, end| {
        end.outbox.push(OutboxRow { event: "e".into(), aggregate: "v".into(), sequence: 13 });
    });
}
