//! Promise 4: an outage is not a bad event.

use super::*;

#[test]
fn an_outage_blamed_on_an_event() {
    let more = |letter: Letter| move |_: &mut History, end: &mut End| end.letters.push(letter);
    assert_eq!(broken(more(letter("a", "2", "failed", REFUSED))), [4], "nobody refused that device");
    assert_eq!(broken(more(letter("r", "2", "rejected", REFUSED))), [4]);
    assert_eq!(broken(more(letter("r", "2", "failed", "SQLSTATE 53100: no space left"))), [4]);
    assert_eq!(broken(more(letter("r", "2", "failed", REFUSED))), NOTHING, "beside a row, after a crash");
    let undecodable = letter("a", "2", "undecodable", "");
    assert_eq!(broken(more(undecodable)), [4]);
}

#[test]
fn a_dead_letter_without_its_tries() {
    assert_eq!(broken(|_, end| end.letters[1].died = 14_999), [4], "four tries, without their waits");
    for attempts in [0, 1, 3, 5] {
        assert_eq!(broken(|_, end| end.letters[1].attempts = attempts), [4], "{attempts} tries");
    }
    let second = || Letter { attempts: 1, died: 15_001, ..letter("r", "2", "failed", REFUSED) };
    let at_once = |letter: Letter| move |_: &mut History, end: &mut End| end.letters.push(letter);
    assert_eq!(broken(at_once(second())), NOTHING, "behind another one a single try is enough");
    let behind_an_event = |_: &mut History, end: &mut End| {
        end.letters.push(second());
        end.letters.remove(1);
        end.rows.push(row(&record("r", 1, 1)));
        end.resources.insert("r".into(), Resource { version: 2, event: "2".into(), body: body(2) });
    };
    assert_eq!(broken(behind_an_event), [4], "the one before it was applied");
    let behind_poison = |_: &mut History, end: &mut End| {
        end.letters.push(second());
        end.log.push(Record { id: None, offset: 15, ..record("r", 1, 1) });
    };
    assert_eq!(broken(behind_poison), NOTHING, "what is no event says nothing of the device");
    let behind_one_of_another_partition = |_: &mut History, end: &mut End| {
        end.letters.push(second());
        end.letters[1].partition = 2;
    };
    assert_eq!(broken(behind_one_of_another_partition), [4]);
}
