//! `content-encoding`: unpacks a body while it arrives, with one limit on the wire and on what
//! comes out. No more than that is ever held, however much a body would unpack to, and what comes
//! out takes its room as it does. (zstd's window comes on top: as much again, at most.)

use std::io::{self, Write};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body_util::{BodyExt, Limited};
use tokio::time::{Instant, timeout_at};
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

use crate::body::{self, Whole};
use crate::in_flight::Room;
use crate::problem::{Code, Problem};

/// What can be unpacked, as an answer's `accept-encoding` (RFC 7694) tells it.
pub const ACCEPTED: &str = "gzip, zstd";

/// The largest window of zstd, as a power of two: what RFC 9659 lets senders of HTTP use.
const ZSTD_WINDOW_LOG: u32 = 23;
/// How much zstd unpacks at a time.
const STEP: usize = 32 * 1024;

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
    found.ok_or_else(|| Problem::new(Code::UnsupportedEncoding, "the content encoding must be one of gzip and zstd"))
}

async fn unpack(encoding: Encoding, body: &mut Body, limit: usize, room: &mut Room) -> Result<Bytes, Problem> {
    let mut wire = Limited::new(body, limit);
    let sink = Sink { whole: Whole::new(limit, room), refused: None };
    let mut unpacker = Unpacker::new(encoding, sink).map_err(|error| {
        tracing::error!(%error, "cannot unpack");
        Problem::new(Code::Internal, "the body cannot be unpacked")
    })?;
    while let Some(frame) = wire.frame().await {
        let frame = frame.map_err(|error| body::broken_off(&*error, limit))?;
        if let Some(data) = frame.data_ref() {
            unpacker.push(data).map_err(|_| unpacker.why())?;
        }
    }
    unpacker.finish().map_err(|_| unpacker.why())?;
    Ok(unpacker.sink().whole.take())
}

/// What has been unpacked so far.
struct Sink<'a> {
    whole: Whole<'a>,
    /// Why it takes no more.
    refused: Option<Problem>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.whole.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(problem) => {
                self.refused = Some(problem);
                Err(io::ErrorKind::FileTooLarge.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Unpacker<'a> {
    Gzip(Box<MultiGzDecoder<Sink<'a>>>),
    Zstd { decoder: zstd::stream::raw::Decoder<'static>, step: Box<[u8]>, whole: bool, sink: Sink<'a> },
}

impl<'a> Unpacker<'a> {
    fn new(encoding: Encoding, sink: Sink<'a>) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::raw::Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
                Self::Zstd { decoder, step: vec![0; STEP].into(), whole: false, sink }
            }
        })
    }

    fn push(&mut self, data: &[u8]) -> io::Result<()> {
        let (decoder, step, whole, sink) = match self {
            Self::Gzip(decoder) => return decoder.write_all(data),
            Self::Zstd { decoder, step, whole, sink } => (decoder, step, whole, sink),
        };
        let mut input = InBuffer::around(data);
        while input.pos() < data.len() || !*whole {
            let mut output = OutBuffer::around(&mut step[..]);
            *whole = decoder.run(&mut input, &mut output)? == 0;
            let full = output.pos() == output.capacity();
            sink.write_all(output.as_slice())?;
            // With room left over, all that was there to unpack is unpacked.
            if input.pos() == data.len() && !full {
                break;
            }
        }
        Ok(())
    }

    /// Nothing more comes: it has to be whole.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zstd { whole: true, .. } => Ok(()),
            Self::Zstd { .. } => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn sink(&mut self) -> &mut Sink<'a> {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd { sink, .. } => sink,
        }
    }

    /// Why it went no further.
    fn why(&mut self) -> Problem {
        let refused = self.sink().refused.take();
        refused.unwrap_or_else(|| Problem::new(Code::BadRequest, "the body is not what its content encoding says"))
    }
}

#[cfg(test)]
mod tests;
