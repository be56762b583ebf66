//! A history as a file, to be judged again: JSON, a fact a line, zipped or not, so that `zgrep` cuts one
//! down to a device, and what is left is a history still.
//!
//! The first line is the [format](FORMAT). Each other line has one member, which says what kind of fact
//! it is: `bounds`, `sent`, `read`, `commit`, `poison`, `wire`, `refused`, `aborted`, `redis_away`, `postgres_away`,
//! `letters_refused` and `worker_away` of a [`History`]; `record`, `row`, `resource`, `letter`, `cached` and `left` of an
//! [`End`]. The order of lines counts among those of one kind only. Times are in microseconds since the
//! beginning of the run; Kafka's own are in milliseconds, as Kafka has them.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::{Bounds, Commit, End, History, Letter, Read, Record, Resource, Row, Sent, Span, WorkerAway, Written};

/// What the first line says. A reader refuses every other number.
pub const FORMAT: u32 = 1;

/// What a zipped file begins with.
const ZIPPED: [u8; 2] = [0x1f, 0x8b];

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fact<'a> {
    Format(u32),
    Bounds(Bounds),
    Sent(OfDevice<'a, Sent>),
    Read(Cow<'a, Read>),
    Commit(Cow<'a, Commit>),
    Poison(Cow<'a, str>),
    Wire(Wire<'a>),
    Refused(Cow<'a, str>),
    Aborted(Aborted<'a>),
    RedisAway(Span),
    PostgresAway(Span),
    LettersRefused(Span),
    WorkerAway(WorkerAway),
    Record(Cow<'a, Record>),
    Row(Cow<'a, Row>),
    Resource(OfDevice<'a, Resource>),
    Letter(Cow<'a, Letter>),
    Cached(Cached<'a>),
    Left(Left),
}

#[derive(Serialize, Deserialize)]
struct OfDevice<'a, T: Clone> {
    device: Cow<'a, str>,
    #[serde(flatten)]
    what: Cow<'a, T>,
}

#[derive(Serialize, Deserialize)]
struct Aborted<'a> {
    device: Cow<'a, str>,
    id: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct Cached<'a> {
    device: Cow<'a, str>,
    body: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    mark: Cow<'a, str>,
    #[serde(flatten)]
    written: Cow<'a, Written>,
}

#[derive(Serialize, Deserialize)]
struct Left {
    partition: i32,
    committed: i64,
    end: i64,
}

/// Writes both down, zipped.
pub fn save(path: &Path, history: &History, end: &End) -> anyhow::Result<()> {
    let saved = File::create(path).map_err(anyhow::Error::new).and_then(|file| {
        let mut writer = BufWriter::new(GzEncoder::new(file, Compression::fast()));
        write(&mut writer, history, end)?;
        Ok(writer.into_inner()?.finish()?)
    });
    saved.map(drop).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads both again, zipped or not.
///
/// # Errors
/// There is no such file, or a line of it is not of this format: the error says which.
pub fn load(path: &Path) -> anyhow::Result<(History, End)> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let is_zipped = reader.fill_buf().with_context(|| format!("cannot read {}", path.display()))?.starts_with(&ZIPPED);
    let read = if is_zipped { read(BufReader::new(GzDecoder::new(reader))) } else { read(reader) };
    read.with_context(|| path.display().to_string())
}

fn write(writer: &mut impl Write, history: &History, end: &End) -> anyhow::Result<()> {
    let of_device = |device: &'_ str| Cow::Owned(device.to_owned());
    let sent = history.sent.iter().flat_map(|(device, sent)| {
        sent.iter().map(move |sent| Fact::Sent(OfDevice { device: of_device(device), what: Cow::Borrowed(sent) }))
    });
    let resources = end.resources.iter().map(|(device, resource)| {
        Fact::Resource(OfDevice { device: of_device(device), what: Cow::Borrowed(resource) })
    });
    let cached = end.cached.iter();
    let left = end.left.iter();
    let aborted = history.aborted.iter().flat_map(|(device, ids)| {
        ids.iter().map(move |id| Fact::Aborted(Aborted { device: of_device(device), id: Cow::Borrowed(id) }))
    });
    let facts = [Fact::Format(FORMAT), Fact::Bounds(history.bounds)]
        .into_iter()
        .chain(history.redis_away.iter().copied().map(Fact::RedisAway))
        .chain(history.postgres_away.iter().copied().map(Fact::PostgresAway))
        .chain(history.letters_refused.iter().copied().map(Fact::LettersRefused))
        .chain(history.workers_away.iter().copied().map(Fact::WorkerAway))
        .chain(history.refused.iter().map(|device| Fact::Refused(Cow::Borrowed(device))))
        .chain(aborted)
        .chain(history.poison.iter().map(|value| Fact::Poison(Cow::Borrowed(value))))
        .chain(
            history
                .wire
                .iter()
                .map(|(mark, written)| Fact::Wire(Wire { mark: Cow::Borrowed(mark), written: Cow::Borrowed(written) })),
        )
        .chain(left.map(|(partition, (committed, end))| {
            Fact::Left(Left { partition: *partition, committed: *committed, end: *end })
        }))
        .chain(resources)
        .chain(
            cached.map(|(device, body)| Fact::Cached(Cached { device: of_device(device), body: Cow::Borrowed(body) })),
        )
        .chain(end.letters.iter().map(|letter| Fact::Letter(Cow::Borrowed(letter))))
        .chain(history.commits.iter().map(|commit| Fact::Commit(Cow::Borrowed(commit))))
        .chain(sent)
        .chain(end.log.iter().map(|record| Fact::Record(Cow::Borrowed(record))))
        .chain(end.rows.iter().map(|row| Fact::Row(Cow::Borrowed(row))))
        .chain(history.reads.iter().map(|read| Fact::Read(Cow::Borrowed(read))));
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
        let fact: Fact<'_> =
            serde_json::from_str(&line).with_context(|| format!("line {number} is no fact of a history"))?;
        if let Fact::Format(format) = fact {
            anyhow::ensure!(format == FORMAT, "its format is {format}, and this checker reads {FORMAT}");
            has_format = true;
            continue;
        }
        anyhow::ensure!(has_format, "line {number} comes before the line {{\"format\":{FORMAT}}}");
        match fact {
            Fact::Format(_) => {}
            Fact::Bounds(bounds) => (history.bounds, has_bounds) = (bounds, true),
            Fact::Sent(sent) => {
                history.sent.entry(sent.device.into_owned()).or_default().push(sent.what.into_owned());
            }
            Fact::Read(read) => history.reads.push(read.into_owned()),
            Fact::Commit(commit) => history.commits.push(commit.into_owned()),
            Fact::Poison(value) => drop(history.poison.insert(value.into_owned())),
            Fact::Wire(Wire { mark, written }) => drop(history.wire.insert(mark.into_owned(), written.into_owned())),
            Fact::Refused(device) => drop(history.refused.insert(device.into_owned())),
            Fact::Aborted(Aborted { device, id }) => {
                history.aborted.entry(device.into_owned()).or_default().insert(id.into_owned());
            }
            Fact::RedisAway(span) => history.redis_away.push(span),
            Fact::PostgresAway(span) => history.postgres_away.push(span),
            Fact::LettersRefused(span) => history.letters_refused.push(span),
            Fact::WorkerAway(away) => history.workers_away.push(away),
            Fact::Record(record) => end.log.push(record.into_owned()),
            Fact::Row(row) => end.rows.push(row.into_owned()),
            Fact::Resource(found) => drop(end.resources.insert(found.device.into_owned(), found.what.into_owned())),
            Fact::Letter(letter) => end.letters.push(letter.into_owned()),
            Fact::Cached(cached) => drop(end.cached.insert(cached.device.into_owned(), cached.body.into_owned())),
            Fact::Left(left) => drop(end.left.insert(left.partition, (left.committed, left.end))),
        }
    }
    anyhow::ensure!(has_format, "it is empty: a history begins with the line {{\"format\":{FORMAT}}}");
    anyhow::ensure!(has_bounds, "it has no line `bounds`");
    Ok((history, end))
}

#[cfg(test)]
mod tests;
