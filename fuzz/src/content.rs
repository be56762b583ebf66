//! Compressed bodies.

use std::io::Read;
use std::time::Duration;

use api_service::http::body::BodyLimits;
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

/// The size limit of the body, before and after decompression.
const LIMIT: usize = 64 * 1024;
/// Memory for the body and for the largest decompression window.
const ROOM: usize = 16 * 1024 * 1024;
/// The maximum number of gzip members or zstd frames.
const MEMBERS: usize = 1024;

/// Decompresses the input in pieces: the first byte selects the encoding and the size of the pieces.
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
        let limits = BodyLimits::of(Duration::from_secs(60), Duration::from_secs(60), 1);
        let unpacked = read(&headers, &mut body, LIMIT, &limits.begin(), &mut room).await;
        assert!(in_flight.left() >= ROOM - LIMIT, "more room than the limit");
        unpacked
    });
    assert_eq!(in_flight.left(), ROOM, "room is given back");

    // The expected result: the libraries' own readers, on the whole input.
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
            // If the input is invalid only after the limit, either error is correct.
            assert!(expected.len() > LIMIT || packed.len() > LIMIT || !good, "not too large");
        }
        Err(problem) => {
            assert_eq!(problem.code, Code::BAD_REQUEST);
            let begins = if gzip { &[0x1f, 0x8b, 8][..] } else { &[0x28, 0xb5, 0x2f, 0xfd] };
            let many = packed.windows(begins.len()).filter(|bytes| *bytes == begins).count() > MEMBERS;
            // An empty body is always invalid, even if a library's reader accepts it.
            assert!(!good || expected.len() > LIMIT || packed.is_empty() || many, "refused, and it is good");
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}
