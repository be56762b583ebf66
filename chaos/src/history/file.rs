//! A history as a file that can be checked again: JSON, one fact per line, gzipped or not. `zgrep` can reduce it to one
//! device, and the result is still a valid history.
//!
//! The first line is the [format](FORMAT). Each other line has one member, whose name is the kind of fact (`Fact`). The
//! order of lines matters only within one kind. Times are in microseconds since the start of the run; Kafka's own
//! timestamps are in milliseconds.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::ads::AdFact;
use super::placements::PlacementFact;
use super::{Bounds, Commit, End, History, Letter, Read, Record, Resource, Row, Sent, Span, WorkerAway, Written};

/// The format's version, in the first line. A reader refuses every other number.
pub const FORMAT: u32 = 1;

/// The magic number of gzip.
const ZIPPED: [u8; 2] = [0x1f, 0x8b];

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fact {
    Format(u32),
    Bounds(Bounds),
    Sent(OfDevice<Sent>),
    Read(Read),
    Commit(Commit),
    Poison(String),
    Wire(Wire),
    Refused(String),
    Aborted { device: String, id: String },
    RedisAway(Span),
    PostgresAway(Span),
    LettersRefused(Span),
    WorkerAway(WorkerAway),
    Record(Record),
    Row(Row),
    Resource(OfDevice<Resource>),
    Letter(Letter),
    Cached { device: String, body: String },
    Left { partition: i32, committed: i64, end: i64 },
    Ads(AdFact),
    Placements(PlacementFact),
}

#[derive(Serialize, Deserialize)]
struct OfDevice<T> {
    device: String,
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    mark: String,
    #[serde(flatten)]
    written: Written,
}

/// Saves both, gzipped.
pub fn save(path: &Path, history: History, end: End) -> anyhow::Result<()> {
    let saved = File::create(path).map_err(anyhow::Error::new).and_then(|file| {
        let mut writer = BufWriter::new(GzEncoder::new(file, Compression::fast()));
        write(&mut writer, history, end)?;
        Ok(writer.into_inner()?.finish()?)
    });
    saved.map(drop).with_context(|| format!("cannot write {}", path.display()))
}

/// Loads both, gzipped or not; an error names the line that is not of this format.
pub fn load(path: &Path) -> anyhow::Result<(History, End)> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let is_zipped = reader.fill_buf().with_context(|| format!("cannot read {}", path.display()))?.starts_with(&ZIPPED);
    let read = if is_zipped { read(BufReader::new(GzDecoder::new(reader))) } else { read(reader) };
    read.with_context(|| path.display().to_string())
}

fn write(writer: &mut impl Write, history: History, end: End) -> anyhow::Result<()> {
    let History {
        sent, reads, commits, poison, wire, letters_refused, refused, aborted, bounds, ads, placements, ..
    } = history;
    let sent = sent.into_iter().flat_map(|(device, sent)| {
        sent.into_iter().map(move |what| Fact::Sent(OfDevice { device: device.clone(), what }))
    });
    let aborted = aborted
        .into_iter()
        .flat_map(|(device, ids)| ids.into_iter().map(move |id| Fact::Aborted { device: device.clone(), id }));
    let left = end.left.into_iter().map(|(partition, (committed, end))| Fact::Left { partition, committed, end });
    let facts = [Fact::Format(FORMAT), Fact::Bounds(bounds)]
        .into_iter()
        .chain(history.redis_away.into_iter().map(Fact::RedisAway))
        .chain(history.postgres_away.into_iter().map(Fact::PostgresAway))
        .chain(letters_refused.into_iter().map(Fact::LettersRefused))
        .chain(history.workers_away.into_iter().map(Fact::WorkerAway))
        .chain(refused.into_iter().map(Fact::Refused))
        .chain(aborted)
        .chain(poison.into_iter().map(Fact::Poison))
        .chain(wire.into_iter().map(|(mark, written)| Fact::Wire(Wire { mark, written })))
        .chain(left)
        .chain(end.resources.into_iter().map(|(device, what)| Fact::Resource(OfDevice { device, what })))
        .chain(end.cached.into_iter().map(|(device, body)| Fact::Cached { device, body }))
        .chain(end.letters.into_iter().map(Fact::Letter))
        .chain(commits.into_iter().map(Fact::Commit))
        .chain(sent)
        .chain(end.log.into_iter().map(Fact::Record))
        .chain(end.rows.into_iter().map(Fact::Row))
        .chain(reads.into_iter().map(Fact::Read))
        .chain(AdFact::all(ads, end.ads).map(Fact::Ads))
        .chain(PlacementFact::all(placements, end.placements).map(Fact::Placements));
    for fact in facts {
        serde_json::to_writer(&mut *writer, &fact)?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}

fn read(reader: impl BufRead) -> anyhow::Result<(History, End)> {
    let (mut history, mut end) = (History::default(), End::default());
    let (mut has_format, mut has_bounds) = (false, false);
    for (number, line) in (1..).zip(reader.lines()) {
        let line = line.with_context(|| format!("line {number}"))?;
        let fact = serde_json::from_str(&line).with_context(|| format!("line {number} is no fact of a history"))?;
        anyhow::ensure!(
            has_format || matches!(fact, Fact::Format(_)),
            "line {number} comes before the line {{\"format\":{FORMAT}}}"
        );
        match fact {
            Fact::Format(format) => {
                anyhow::ensure!(format == FORMAT, "its format is {format}, and this checker reads {FORMAT}");
                has_format = true;
            }
            Fact::Bounds(bounds) => (history.bounds, has_bounds) = (bounds, true),
            Fact::Sent(sent) => history.sent.entry(sent.device).or_default().push(sent.what),
            Fact::Read(read) => history.reads.push(read),
            Fact::Commit(commit) => history.commits.push(commit),
            Fact::Poison(value) => drop(history.poison.insert(value)),
            Fact::Wire(Wire { mark, written }) => drop(history.wire.insert(mark, written)),
            Fact::Refused(device) => drop(history.refused.insert(device)),
            Fact::Aborted { device, id } => drop(history.aborted.entry(device).or_default().insert(id)),
            Fact::RedisAway(span) => history.redis_away.push(span),
            Fact::PostgresAway(span) => history.postgres_away.push(span),
            Fact::LettersRefused(span) => history.letters_refused.push(span),
            Fact::WorkerAway(away) => history.workers_away.push(away),
            Fact::Record(record) => end.log.push(record),
            Fact::Row(row) => end.rows.push(row),
            Fact::Resource(found) => drop(end.resources.insert(found.device, found.what)),
            Fact::Letter(letter) => end.letters.push(letter),
            Fact::Cached { device, body } => drop(end.cached.insert(device, body)),
            Fact::Left { partition, committed, end: at } => drop(end.left.insert(partition, (committed, at))),
            Fact::Ads(fact) => fact.put_into(&mut history.ads, &mut end.ads),
            Fact::Placements(fact) => fact.put_into(&mut history.placements, &mut end.placements),
        }
    }
    anyhow::ensure!(has_format, "it is empty: a history begins with the line {{\"format\":{FORMAT}}}");
    anyhow::ensure!(has_bounds, "it has no line `bounds`");
    Ok((history, end))
}

#[cfg(test)]
mod tests;
