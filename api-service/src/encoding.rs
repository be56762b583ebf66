//! `content-encoding`: unpacks a body while it arrives, with one limit on the wire and on what
//! comes out. No more than that is ever held, however much a body would unpack to, and what comes
//! out takes its room as it does; so does what it takes to unpack it, from the first byte on.

use std::io::Write;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::GzDecoder;
use http_body_util::{BodyExt, Limited};
use tokio::time::{Instant, timeout_at};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use crate::body::{self, Whole};
use crate::in_flight::Room;
use crate::problem::{Code, Problem};

/// What can be unpacked, as an answer's `accept-encoding` (RFC 7694) tells it.
pub const ACCEPTED: &str = "gzip, zstd";

/// The largest window of zstd, as a power of two: what RFC 9659 lets senders of HTTP use.
const ZSTD_WINDOW_LOG: u32 = 23;
/// How much is unpacked at a time.
const STEP: usize = 32 * 1024;
/// What unpacking gzip takes: the window and tables of flate2's decoder, what it has not written
/// yet, and what it has.
const GZIP_ROOM: usize = 48 * 1024 + 2 * STEP;
/// The most members that a body of gzip may have: each costs a decoder, and twenty bytes are one.
const MAX_MEMBERS: usize = 1024;

/// The most that one body takes: a batch that is unpacked in the largest window, and its buffers.
pub(crate) const MOST_ROOM: usize = 17 * 1024 * 1024;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Zstd,
}

/// The whole body, unpacked and counted in `room`.
///
/// # Errors
/// As [`body::read`]; 415 for an encoding that is not known, or for several; 400 where the body is
/// not what its encoding says.
pub async fn read(
    headers: &HeaderMap,
    body: &mut Body,
    limit: usize,
    deadline: Instant,
    room: &mut Room,
) -> Result<Bytes, Problem> {
    match of(headers)? {
        None => body::read(headers, body, limit, deadline, room).await,
        Some(encoding) => {
            body::check_told(headers, limit)?;
            let unpacked = timeout_at(deadline, unpack(encoding, body, limit, room)).await;
            unpacked.unwrap_or_else(|_| Err(body::late()))
        }
    }
}

/// The encoding of a body, or none.
fn of(headers: &HeaderMap) -> Result<Option<Encoding>, Problem> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = value.as_bytes();
    // RFC 9110 keeps x-gzip for gzip. A comma, or another line, stacks encodings.
    let found = match () {
        () if values.next().is_some() => None,
        () if name.eq_ignore_ascii_case(b"identity") => Some(None),
        () if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => Some(Some(Encoding::Gzip)),
        () if name.eq_ignore_ascii_case(b"zstd") => Some(Some(Encoding::Zstd)),
        () => None,
    };
    found.ok_or_else(|| {
        Problem::new(Code::UnsupportedEncoding, format!("the content encoding must be one of {ACCEPTED}"))
    })
}

async fn unpack(encoding: Encoding, body: &mut Body, limit: usize, room: &mut Room) -> Result<Bytes, Problem> {
    let mut wire = Limited::new(body, limit);
    let beside = room.beside();
    let mut whole = Whole::new(limit, room);
    // Who sends nothing costs nothing.
    let mut unpacker = None;
    while let Some(frame) = wire.frame().await {
        let frame = frame.map_err(|error| body::broken_off(&*error, limit))?;
        let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) else { continue };
        let unpacker = match &mut unpacker {
            Some(unpacker) => unpacker,
            none => none.insert(Unpacker::new(encoding, beside.beside())?),
        };
        unpacker.push(data, &mut whole)?;
    }
    unpacker.ok_or_else(broken)?.finish(&mut whole)?;
    Ok(whole.take())
}

/// What unpacks a body, with the room that it takes up.
struct Unpacker {
    room: Room,
    decoder: Decoder,
}

enum Decoder {
    Gzip { member: Box<GzDecoder<Vec<u8>>>, members: usize },
    Zstd { decoder: DCtx<'static>, step: Box<[u8]>, whole: bool },
}

impl Unpacker {
    fn new(encoding: Encoding, mut room: Room) -> Result<Self, Problem> {
        let decoder = match encoding {
            Encoding::Gzip => {
                room.cover(GZIP_ROOM)?;
                Decoder::Gzip { member: Box::new(GzDecoder::new(Vec::new())), members: 1 }
            }
            Encoding::Zstd => {
                let mut decoder = DCtx::try_create().ok_or_else(unable)?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(|_| unable())?;
                room.cover(decoder.sizeof() + STEP)?;
                Decoder::Zstd { decoder, step: vec![0; STEP].into(), whole: false }
            }
        };
        Ok(Self { room, decoder })
    }

    /// Unpacks a piece of the body.
    ///
    /// # Errors
    /// 400 where it is broken; 413; 503.
    fn push(&mut self, mut data: &[u8], unpacked: &mut Whole<'_>) -> Result<(), Problem> {
        match &mut self.decoder {
            Decoder::Gzip { member, members } => {
                while !data.is_empty() {
                    let taken = member.write(data).map_err(|_| broken())?;
                    hand_over(member.get_mut(), unpacked)?;
                    data = data.get(taken..).unwrap_or_default();
                    if taken == 0 {
                        // This member is whole; what stands behind it is another.
                        member.try_finish().map_err(|_| broken())?;
                        hand_over(member.get_mut(), unpacked)?;
                        *members += 1;
                        if *members > MAX_MEMBERS {
                            return Err(too_many_members());
                        }
                        **member = GzDecoder::new(std::mem::take(member.get_mut()));
                    }
                }
            }
            Decoder::Zstd { decoder, step, whole } => {
                let mut input = InBuffer::around(data);
                while input.pos() < data.len() || !*whole {
                    let mut output = OutBuffer::around(&mut step[..]);
                    *whole = decoder.decompress_stream(&mut output, &mut input).map_err(|_| broken())? == 0;
                    let full = output.pos() == output.capacity();
                    // A frame says how large a window it needs.
                    self.room.cover(decoder.sizeof() + STEP)?;
                    unpacked.push(output.as_slice())?;
                    // With room left over, all that was there to unpack is unpacked.
                    if input.pos() == data.len() && !full {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Nothing more comes: it has to be whole.
    fn finish(self, unpacked: &mut Whole<'_>) -> Result<(), Problem> {
        match self.decoder {
            Decoder::Gzip { member, .. } => hand_over(&mut member.finish().map_err(|_| broken())?, unpacked),
            Decoder::Zstd { whole: true, .. } => Ok(()),
            Decoder::Zstd { .. } => Err(broken()),
        }
    }
}

/// Takes what has come out.
fn hand_over(from: &mut Vec<u8>, unpacked: &mut Whole<'_>) -> Result<(), Problem> {
    unpacked.push(from)?;
    from.clear();
    Ok(())
}

fn broken() -> Problem {
    Problem::new(Code::BadRequest, "the body is not what its content encoding says")
}

fn too_many_members() -> Problem {
    Problem::new(Code::BadRequest, format!("the body has more than {MAX_MEMBERS} members of gzip"))
}

fn unable() -> Problem {
    tracing::error!("there is no memory to unpack a body");
    Problem::new(Code::Internal, "the body cannot be unpacked")
}

#[cfg(test)]
mod tests;
