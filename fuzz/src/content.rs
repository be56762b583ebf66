//! Packed bodies.

use std::io::Read;
use std::time::Duration;

use api_service::http::encoding::read;
use api_service::http::in_flight::InFlight;
use api_service::http::problem::Code;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// What may come out, and what may go in.
const LIMIT: usize = 64 * 1024;
/// Room for that, and for the largest window to unpack it in.
const ROOM: usize = 16 * 1024 * 1024;
/// The most members of gzip, or frames of zstd.
const MEMBERS: usize = 1024;

/// Unpacks the input in pieces: its first byte tells how it is packed and how large the pieces are.
pub fn content(input: &[u8]) {
    let Some((&first, packed)) = input.split_first() else { return };
    let gzip = first.is_multiple_of(2);
    let piece = 1 << (first / 2 % 16);
    let name = if gzip { "gzip" } else { "zstd" };

    let headers = [(header::CONTENT_ENCODING, HeaderValue::from_static(name))].into_iter().collect();
    let pieces: Vec<_> =
        packed.chunks(piece).map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let in_flight = InFlight::new(ROOM);
    let unpacked = runtime().block_on(async {
        let mut body = Body::new(StreamBody::new(stream::iter(pieces)));
        let mut room = in_flight.room(&headers, LIMIT).expect("there is room");
        let deadline = Instant::now() + Duration::from_secs(60);
        let unpacked = read(&headers, &mut body, LIMIT, deadline, &mut room).await;
        assert!(in_flight.left() >= ROOM - LIMIT, "more room than the limit");
        unpacked
    });
    assert_eq!(in_flight.left(), ROOM, "room is given back");

    // The same by the libraries' own readers, at once.
    let mut expected = Vec::new();
    let most = u64::try_from(LIMIT + 1).expect("small");
    let good = if gzip {
        flate2::read::MultiGzDecoder::new(packed).take(most).read_to_end(&mut expected).is_ok()
    } else {
        zstd::stream::read::Decoder::new(packed)
            .and_then(|mut decoder| {
                decoder.window_log_max(23)?;
                decoder.take(most).read_to_end(&mut expected)
            })
            .is_ok()
    };
    match unpacked {
        Ok(bytes) => {
            assert!(bytes.len() <= LIMIT && good, "broken, and taken");
            assert!(bytes == expected, "something else came out");
        }
        Err(problem) if problem.code == Code::BODY_TOO_LARGE => {
            // What is broken behind the limit may be told as either.
            assert!(expected.len() > LIMIT || packed.len() > LIMIT || !good, "not too large");
        }
        Err(problem) => {
            assert_eq!(problem.code, Code::BAD_REQUEST);
            let begins = if gzip { &[0x1f, 0x8b, 8][..] } else { &[0x28, 0xb5, 0x2f, 0xfd] };
            let many = packed.windows(begins.len()).filter(|bytes| *bytes == begins).count() > MEMBERS;
            // A body that is empty is nobody's archive, whatever a reader makes of it.
            assert!(!good || expected.len() > LIMIT || packed.is_empty() || many, "refused, and it is good");
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}
