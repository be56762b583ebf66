//! Promise 1: a 202 is never false.

use super::*;

#[test]
fn an_accepted_event_that_is_not_in_the_log() {
    let lost = |_: &mut History, end: &mut End| {
        end.log.remove(1);
        end.rows.remove(1);
    };
    assert!(broken(lost).contains(&1));
}
