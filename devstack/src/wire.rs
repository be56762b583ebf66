//! Writes raw records to Kafka: builds the produce request byte by byte.
//!
//! Every client library refuses some records, for example for a header name that is not UTF-8 or contains a NUL, or
//! for sizes. The broker accepts them, so a consumer must handle them. Nor does a client write to a transaction that no
//! coordinator knows. These functions block.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WireRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Header names and values; a value may be null.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// False statements of a record about itself. Brokers accept many of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claims {
    pub key_length: Option<i64>,
    pub value_length: Option<i64>,
    /// Its offset relative to the first of its batch.
    pub offset_delta: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    /// gzip with several members, which still form one stream.
    GzipMembers,
    /// Zstandard; the frame states its decompressed size.
    Zstd,
}

/// A producer with a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    pub transactional_id: String,
    pub id: i64,
    pub epoch: i16,
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// API key and version of `Produce`: the oldest, and so simplest, version that supports Zstandard.
const PRODUCE: (i16, i16) = (0, 7);
/// The same of `InitProducerId`: the newest without fields that may be left out.
const INIT_PRODUCER_ID: (i16, i16) = (22, 1);
/// The attribute of a batch that is in a transaction.
const TRANSACTIONAL: i16 = 1 << 4;

/// Appends numbers in Kafka's byte order.
macro_rules! put {
    ($bytes:ident: $($number:expr),*) => { $($bytes.extend(($number).to_be_bytes());)* };
}

/// Writes records as one uncompressed batch; returns the offset of the first. `broker` is the partition's leader.
pub fn produce(broker: &str, topic: &str, partition: i32, records: &[WireRecord]) -> io::Result<i64> {
    produce_as(broker, topic, partition, records, Packing::None, 0)
}

/// The same with compression, so that few bytes can be a large record. `millis` is the records' timestamp.
pub fn produce_as(
    broker: &str,
    topic: &str,
    partition: i32,
    records: &[WireRecord],
    packing: Packing,
    millis: i64,
) -> io::Result<i64> {
    let records: Vec<_> = records.iter().map(|record| (record.clone(), Claims::default())).collect();
    send(broker, topic, partition, None, &batch(&records, packing, millis, None)?)
}

/// The same, uncompressed, for records with false statements.
pub fn produce_claiming(
    broker: &str,
    topic: &str,
    partition: i32,
    records: &[(WireRecord, Claims)],
) -> io::Result<i64> {
    send(broker, topic, partition, None, &batch(records, Packing::None, 0, None)?)
}

/// Begins a new epoch of the producer with this transactional id. `broker` is its coordinator, which has loaded it.
pub fn init_producer(broker: &str, transactional_id: &str) -> io::Result<Producer> {
    let mut body = Vec::new();
    put_text(&mut body, Some(transactional_id));
    put!(body: 60_000_i32);
    let answer = ask(broker, INIT_PRODUCER_ID, &body)?;
    // After the correlation id and the throttle time: the error, the id and the epoch.
    let told = answer
        .get(8..20)
        .and_then(|told| Some((told.first_chunk()?, told.get(2..)?.first_chunk()?, told.last_chunk()?)));
    let (error, id, epoch) = told.ok_or_else(too_short)?;
    match i16::from_be_bytes(*error) {
        0 => {
            let (id, epoch) = (i64::from_be_bytes(*id), i16::from_be_bytes(*epoch));
            Ok(Producer { transactional_id: transactional_id.to_owned(), id, epoch })
        }
        code => Err(io::Error::other(format!("the broker begins no epoch, with the error code {code}"))),
    }
}

/// Writes records as the first batch of this epoch, in a transaction whose coordinator does not know the partition. A broker
/// appends it with `transaction.partition.verification.enable=false`, and no coordinator ends it.
pub fn produce_hanging(
    broker: &str,
    topic: &str,
    partition: i32,
    records: &[WireRecord],
    producer: &Producer,
) -> io::Result<i64> {
    let records: Vec<_> = records.iter().map(|record| (record.clone(), Claims::default())).collect();
    let batch = batch(&records, Packing::None, 0, Some(producer))?;
    send(broker, topic, partition, Some(&producer.transactional_id), &batch)
}

/// Compresses the records; returns Kafka's codec number with them.
fn pack(records: Vec<u8>, packing: Packing) -> io::Result<(i16, Vec<u8>)> {
    let member = |of: &[u8]| -> io::Result<Vec<u8>> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(of)?;
        packed.finish()
    };
    Ok(match packing {
        Packing::None => (0, records),
        Packing::Gzip => (1, member(&records)?),
        Packing::GzipMembers => {
            let (first, second) = records.split_at(records.len() / 2);
            (1, [member(first)?, member(second)?].concat())
        }
        Packing::Zstd => (4, zstd::bulk::compress(&records, 0)?),
    })
}

fn send(broker: &str, topic: &str, partition: i32, transactional_id: Option<&str>, batch: &[u8]) -> io::Result<i64> {
    let mut body = Vec::new();
    // Then acks of all in-sync replicas; the timeout in ms; one topic.
    put_text(&mut body, transactional_id);
    put!(body: -1_i16, 10_000_i32, 1_i32);
    put_text(&mut body, Some(topic));
    put!(body: 1_i32, partition, length(batch));
    body.extend(batch);
    let answer = ask(broker, PRODUCE, &body)?;
    // After the correlation id, one topic's name and one partition's number: the error and the offset.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    let told = answer.get(at..at + 10).and_then(|told| Some((told.first_chunk()?, told.last_chunk()?)));
    let (error, offset) = told.ok_or_else(too_short)?;
    match i16::from_be_bytes(*error) {
        0 => Ok(i64::from_be_bytes(*offset)),
        code => Err(io::Error::other(format!("the broker refuses the records with the error code {code}"))),
    }
}

/// Sends one request on a connection of its own; returns the answer from the correlation id on.
fn ask(broker: &str, (key, version): (i16, i16), body: &[u8]) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    put!(request: key, version, 1_i32);
    put_text(&mut request, Some("wire"));
    request.extend(body);

    let mut stream = TcpStream::connect(broker)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(&length(&request).to_be_bytes())?;
    stream.write_all(&request)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap_or(0)];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn too_short() -> io::Error {
    io::Error::other("an answer that is too short")
}

pub fn encode_headers(headers: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, i64::from(length(headers)));
    for (name, value) in headers {
        put_bytes(&mut bytes, Some(name));
        put_bytes(&mut bytes, value.as_deref());
    }
    bytes
}

/// A batch of format 2; with a producer it is the first one of a transaction.
fn batch(
    records: &[(WireRecord, Claims)],
    packing: Packing,
    millis: i64,
    producer: Option<&Producer>,
) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    for (offset, (record, claims)) in records.iter().enumerate() {
        // No attributes; timestamp delta 0.
        let mut bytes = vec![0, 0];
        put_varint(&mut bytes, claims.offset_delta.unwrap_or(i64::try_from(offset).unwrap_or(0)));
        put_bytes_as(&mut bytes, record.key.as_deref(), claims.key_length);
        put_bytes_as(&mut bytes, record.value.as_deref(), claims.value_length);
        bytes.extend(encode_headers(&record.headers));
        put_bytes(&mut whole, Some(&bytes));
    }
    let (codec, packed) = pack(whole, packing)?;
    let transactional = |of: &Producer| (TRANSACTIONAL, of.id, of.epoch, 0);
    let (attribute, id, epoch, sequence): (i16, i64, i16, i32) = producer.map_or((0, -1, -1, -1), transactional);
    // The part under the checksum: attributes, last offset delta, two timestamps, the producer, the records.
    let mut covered = Vec::new();
    put!(covered: codec | attribute, length(records) - 1, millis, millis, id, epoch, sequence, length(records));
    covered.extend(packed);

    let mut batch = Vec::new();
    // After the length: the leader epoch, the format version and the checksum.
    put!(batch: 0_i64, length(&covered) + 4 + 1 + 4, -1_i32, 2_u8, crc32c(&covered));
    batch.extend(covered);
    Ok(batch)
}

fn length<T>(of: &[T]) -> i32 {
    i32::try_from(of.len()).unwrap_or(i32::MAX)
}

fn put_text(bytes: &mut Vec<u8>, text: Option<&str>) {
    let length = text.map_or(-1, |text| i16::try_from(text.len()).unwrap_or(i16::MAX));
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.unwrap_or_default().as_bytes());
}

fn put_bytes(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    put_bytes_as(bytes, part, None);
}

/// The same with an optional false length.
fn put_bytes_as(bytes: &mut Vec<u8>, part: Option<&[u8]>, claimed: Option<i64>) {
    let true_length = part.map_or(-1, |part| i64::from(length(part)));
    put_varint(bytes, claimed.unwrap_or(true_length));
    bytes.extend(part.unwrap_or_default());
}

fn put_varint(bytes: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while left >= 0x80 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
}

/// CRC-32C (Castagnoli), bit by bit, which is fast enough for these small requests.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))))
}
