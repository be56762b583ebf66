//! Promise 4: an outage is not a bad event.

use super::*;

#[test]
fn an_outage_blamed_on_an_event() {
    let more = |letter: Letter| move |_: &mut History, end: &mut End| end.letters.push(letter);
    assert_eq!(broken(more(letter("a", "2", "failed", REFUSED))), [4], "nobody refused that device");
    assert_eq!(broken(more(letter("r", "2", "rejected", REFUSED))), [4]);
    assert_eq!(broken(more(letter("r", "2", "failed", "SQLSTATE 53100: no space left"))), [4]);
    assert_eq!(broken(more(letter("r", "2", "failed", REFUSED))), NOTHING, "beside a row, after a crash");
    assert_eq!(broken(more(letter("a", "2", "undecodable", ""))), [4]);
}

#[test]
fn a_dead_letter_without_its_tries() {
    assert_eq!(broken(|_, end| end.letters[1].died = 14_999), [4], "four tries, without their waits");
    for attempts in [0, 1, 3, 5] {
        assert_eq!(broken(|_, end| end.letters[1].attempts = attempts), [4], "{attempts} tries");
    }
    let second = |died| Letter { attempts: 1, died, ..letter("r", "2", "failed", REFUSED) };
    let more = |letter: Letter| move |_: &mut History, end: &mut End| end.letters.push(letter);
    assert_eq!(broken(more(second(15_001))), [4], "behind a letter an event has its tries, too");
    assert_eq!(broken(more(second(121_000))), NOTHING, "but not when the device has failed for two minutes");
    let many_behind = |count: i64| {
        move |_: &mut History, end: &mut End| {
            end.letters.push(second(15_001));
            // These are not events, so that the checker expects no effect of them.
            let behind = |n| Record { id: None, appended: 15_000, ..record("r", n, 1) };
            end.log.extend((3..count + 2).map(behind));
        }
    };
    assert_eq!(broken(many_behind(100)), NOTHING);
    assert_eq!(broken(many_behind(99)), NOTHING, "the one before it had its tries, and a hundred behind it at last");
    assert_eq!(broken(many_behind(98)), [4], "that many may wait");
    breaks(NOTHING, "behind one of one try: the one before it had a hundred behind it", |history, end| {
        many_behind(99)(history, end);
        (end.letters[1].attempts, end.letters[1].died) = (1, 15_001);
    });
}
