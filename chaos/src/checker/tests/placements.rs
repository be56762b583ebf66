//! Promises 7 to 10 on an intact history of a video, and on each way of breaking each of them.

mod commands;
mod files;
mod inbox;
mod numbers;
mod restored;
mod rows;
mod validations;
mod whole;

use serde_json::{Value, json};

pub(crate) use self::whole::whole_placements;
use self::whole::{
    JSON_5, JSON_11, SECOND, VTT_11, body, done, event, files_generated, findings, inbox, p1, p1_changed, p2, p3, p4,
    placed, read, refused, row, taken, tried, video, with,
};
use super::*;
use crate::history::placements::{
    Ask, DomainLetter, DomainRecord, FileRead, FileRow, InboxRow, LeftBehind, Number, OutboxRow, Placements,
    PlacementsEnd, Restored, SavedVideo, Tried, VideoRow,
};
use crate::history::sha256;

/// What the checker says of this change to the intact history.
fn said(change: impl FnOnce(&mut Placements, &mut PlacementsEnd)) -> Vec<String> {
    let broken = found(|history, end| change(&mut history.placements, &mut end.placements));
    broken.into_iter().map(|broken| format!("{} {}: {}", broken.promise, broken.device, broken.what)).collect()
}

/// The change breaks this promise, or these, and the first violation says so.
#[track_caller]
fn says(promises: &[u8], what: &str, change: impl FnOnce(&mut Placements, &mut PlacementsEnd)) {
    let said = said(change);
    let found: BTreeSet<u8> = said.iter().filter_map(|said| said.split(' ').next()?.parse().ok()).collect();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), promises, "{what}: {said:#?}");
    assert!(said.iter().any(|said| said.contains(what)), "{what}: {said:#?}");
}

/// The record of the video with this number.
fn record_of(end: &mut PlacementsEnd, number: i64) -> &mut DomainRecord {
    end.records.iter_mut().find(|record| record.key == "v" && record.sequence == Some(number)).unwrap()
}

fn try_of<'a>(observed: &'a mut Placements, key: &str) -> &'a mut Tried {
    observed.tries.iter_mut().find(|tried| tried.key == key && tried.status > 0).unwrap()
}

#[test]
fn the_whole_history_is_whole() {
    assert_eq!(said(|_, _| {}), [""; 0]);
}
