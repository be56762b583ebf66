//! `content-encoding`: decompresses a body while it arrives. One limit applies to the compressed and to the
//! decompressed size, so that no body ever holds more. Decompressed bytes count in the memory budget as they appear,
//! and so does the memory of the decoder, from the first byte on.

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyDataStream, LengthLimitError, Limited};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;

use super::body::{self, Pace, Whole};
use super::in_flight::MemoryPermit;
use super::problem::{Code, Problem};

/// The accepted encodings, by name.
const ENCODINGS: [(&str, Encoding); 2] = [("gzip", Encoding::Gzip), ("zstd", Encoding::Zstd)];
/// The same names as the value of `accept-encoding` in a response (RFC 7694).
pub static ACCEPTED: LazyLock<String> = LazyLock::new(|| names().join(", "));

/// The largest window of zstd, as a power of two: RFC 9659 lets HTTP senders use 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;
/// How many bytes are decompressed at a time.
const STEP: usize = 32 * 1024;
/// The most gzip members or zstd frames of a body: each costs a decoder, and twenty bytes suffice for one.
const MAX_MEMBERS: usize = 1024;

/// The names of the accepted encodings.
pub fn names() -> [&'static str; ENCODINGS.len()] {
    ENCODINGS.map(|(name, _)| name)
}

/// The compression of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    /// The memory of decompression after `unpacked` bytes: the decoder, its tables and its buffers, and for zstd the
    /// window, which occupies memory only as far as it has been written.
    fn room(self, unpacked: usize) -> usize {
        STEP + match self {
            Self::Gzip => 64 * 1024,
            Self::Zstd => 384 * 1024 + unpacked.min(1 << ZSTD_WINDOW_LOG),
        }
    }

    /// Decompresses one member or frame.
    fn decoder<'a>(self, packed: impl AsyncBufRead + Send + 'a) -> Pin<Box<dyn AsyncRead + Send + 'a>> {
        match self {
            Self::Gzip => Box::pin(GzipDecoder::new(packed)),
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG);
                Box::pin(ZstdDecoder::with_params(packed, &[window]))
            }
        }
    }
}

/// Reads and decompresses the whole body, and counts it in `room`. Errors: those of [`body::read`]; 415 for an unknown
/// encoding or for several; 400 if the body does not match its encoding.
pub async fn read(
    headers: &HeaderMap,
    body: &mut Body,
    limit: usize,
    pace: &Pace<'_>,
    room: &mut MemoryPermit,
) -> Result<Bytes, Problem> {
    let bytes = match of(headers)? {
        None => body::read(headers, body, limit, pace, room).await,
        Some(encoding) => {
            body::check_told(headers, limit)?;
            unpack(encoding, body, limit, pace, room).await
        }
    };
    match bytes {
        Ok(_) => room.arrived(),
        // Nothing of it is kept, while the rest of the body is read and dropped.
        Err(_) => room.shrink(0),
    }
    bytes
}

/// The encoding of a body; `None` if it is not compressed.
fn of(headers: &HeaderMap) -> Result<Option<Encoding>, Problem> {
    let mut values =
        headers.get_all(header::CONTENT_ENCODING).iter().map(|value| value.as_bytes().to_ascii_lowercase());
    // RFC 9110 keeps x-gzip for gzip. A comma or a second line means several encodings.
    let found = match (values.next().as_deref(), values.next()) {
        (None | Some(b"identity"), None) => return Ok(None),
        (Some(b"x-gzip"), None) => Some(Encoding::Gzip),
        (Some(name), None) => ENCODINGS.into_iter().find(|(known, _)| name == known.as_bytes()).map(|known| known.1),
        _ => None,
    };
    found.map(Some).ok_or_else(|| {
        Problem::new(Code::UNSUPPORTED_ENCODING, format!("the content encoding must be one of {}", *ACCEPTED))
            .with_header(header::ACCEPT_ENCODING, ACCEPTED.as_str())
    })
}

async fn unpack(
    encoding: Encoding,
    body: &mut Body,
    limit: usize,
    pace: &Pace<'_>,
    room: &mut MemoryPermit,
) -> Result<Bytes, Problem> {
    let failed = |error: io::Error| failed(&error, limit);
    let packed = BodyDataStream::new(Limited::new(body, limit)).map_err(io::Error::other);
    let mut packed = StreamReader::new(packed.inspect_ok(|piece| pace.received(piece.len())));
    let mut whole = Whole::new(limit, room);
    let mut step = Vec::new();
    let mut members = 0;
    // A decoder is created only when data has arrived: a client that sends nothing costs no memory.
    while !pace.wait(whole.room, packed.fill_buf()).await?.map_err(failed)?.is_empty() {
        members += 1;
        if members > MAX_MEMBERS {
            let detail = format!("the body has more than {MAX_MEMBERS} gzip members or zstd frames");
            return Err(Problem::new(Code::BAD_REQUEST, detail));
        }
        whole.beside(encoding.room(whole.len()))?;
        step.reserve_exact(STEP);
        let mut member = encoding.decoder(&mut packed);
        while pace.wait(whole.room, member.read_buf(&mut step)).await?.map_err(failed)? > 0 {
            whole.push(&step)?;
            step.clear();
            whole.beside(encoding.room(whole.len()))?;
        }
    }
    if members == 0 {
        return Err(broken());
    }
    Ok(whole.take())
}

/// Maps an error while decompressing to a problem.
fn failed(error: &io::Error, limit: usize) -> Problem {
    match error.get_ref() {
        Some(inner) if inner.is::<LengthLimitError>() || inner.is::<axum::Error>() => body::broken_off(inner, limit),
        _ => broken(),
    }
}

fn broken() -> Problem {
    Problem::new(Code::BAD_REQUEST, "the body does not match its content encoding")
}

#[cfg(test)]
mod tests;
