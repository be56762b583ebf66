use std::io::Write as _;
use std::time::Duration;

use axum::http::HeaderValue;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::*;
use crate::http::body::BodyLimits;
use crate::http::in_flight::InFlight;

const LIMIT: usize = 64 * 1024;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn patient() -> BodyLimits {
    BodyLimits::of(Duration::from_secs(60), Duration::from_secs(60), 1)
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 19).unwrap()
}

/// Decompresses a body that arrives in pieces of this size.
async fn unpacked(encoding: &'static str, body: &[u8], piece: usize) -> Result<Vec<u8>, Code> {
    let headers = [(header::CONTENT_ENCODING, HeaderValue::from_static(encoding))].into_iter().collect();
    let pieces: Vec<_> =
        body.chunks(piece).map(|piece| Ok::<_, io::Error>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let mut body = Body::new(StreamBody::new(futures_util::stream::iter(pieces)));
    let limits = patient();
    let all = 2 * LIMIT + (16 << 20);
    let in_flight = InFlight::new(all);
    let mut room = in_flight.room(&headers, LIMIT).unwrap();
    let unpacked = read(&headers, &mut body, LIMIT, &limits.begin(), &mut room).await;
    let taken = all - in_flight.left();
    let unpacked = unpacked.map(|bytes| bytes.to_vec()).map_err(|problem| problem.code);
    if let Ok(bytes) = &unpacked {
        assert!((bytes.len()..=LIMIT).contains(&taken), "{taken} are counted for {}", bytes.len());
    }
    unpacked
}

#[tokio::test]
async fn what_was_packed_comes_out_however_it_arrives() {
    let noise: Vec<u8> = (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for text in [&b"x"[..], &[7; LIMIT], &noise, &[1; STEP], &[1; STEP + 1]] {
        for piece in [1, 7, 4096, usize::MAX] {
            for (name, packed) in [("gzip", gzip(text)), ("X-GZIP", gzip(text)), ("zstd", zstd(text))] {
                assert!(unpacked(name, &packed, piece).await.unwrap() == text, "{name} of {}", text.len());
                let twice = [packed.as_slice(), &packed].concat();
                let expected =
                    if text.len() * 2 > LIMIT { Err(Code::BODY_TOO_LARGE) } else { Ok([text, text].concat()) };
                assert!(unpacked(name, &twice, piece).await == expected, "{name} of {} twice", text.len());
            }
            assert!(unpacked("identity", text, piece).await.unwrap() == text);
        }
    }
}

#[tokio::test]
async fn what_is_broken_is_told_from_what_is_too_large() {
    for (name, packed) in [("gzip", gzip(b"some text")), ("zstd", zstd(b"some text"))] {
        let cut = &packed[..packed.len() - 1];
        let behind = [packed.as_slice(), b"garbage"].concat();
        for broken in [b"", &b"some text"[..], cut, &packed[1..], &behind, &[0; LIMIT + 1]] {
            assert_eq!(unpacked(name, broken, 4).await, Err(Code::BAD_REQUEST), "{name}: {broken:?}");
        }
        let empty = if name == "gzip" { gzip(b"") } else { zstd(b"") };
        assert_eq!(unpacked(name, &empty.repeat(MAX_MEMBERS), 1000).await, Ok(Vec::new()));
        assert_eq!(unpacked(name, &empty.repeat(MAX_MEMBERS + 1), 7).await, Err(Code::BAD_REQUEST), "too many members");
    }
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(ZSTD_WINDOW_LOG + 1).unwrap();
    encoder.write_all(&[7; 1024]).unwrap();
    let wide = encoder.finish().unwrap();
    assert_eq!(unpacked("zstd", &wide, 4096).await, Err(Code::BAD_REQUEST), "no sender may use that window");
}

#[tokio::test]
async fn what_finds_no_room_while_it_unpacks_is_let_go() {
    let text = vec![0; LIMIT];
    for (encoding, packed) in [(Encoding::Gzip, gzip(&text)), (Encoding::Zstd, zstd(&text))] {
        // There is memory for the decoder, but not for its output.
        let beside = encoding.room(0) + LIMIT / 2;
        let in_flight = InFlight::new(beside);
        let mut room = in_flight.room(&HeaderMap::new(), LIMIT).unwrap();
        let limits = patient();
        let refused = unpack(encoding, &mut Body::from(packed), LIMIT, &limits.begin(), &mut room).await.unwrap_err();
        assert_eq!(refused.code, Code::OVERLOADED, "{encoding:?}");
        drop(room);
        assert_eq!(in_flight.left(), beside);
    }
}

#[test]
fn encodings() {
    let of = |values: &[&'static str]| {
        of(&values.iter().map(|value| (header::CONTENT_ENCODING, HeaderValue::from_static(value))).collect())
    };
    assert_eq!(of(&[]).unwrap(), None);
    assert_eq!(of(&["Identity"]).unwrap(), None);
    assert_eq!(of(&["GZip"]).unwrap(), Some(Encoding::Gzip));
    assert_eq!(of(&["zstd"]).unwrap(), Some(Encoding::Zstd));
    for bad in [&["br"][..], &["deflate"], &["gzip, gzip"], &["gzip", "gzip"], &["identity", "gzip"], &[""]] {
        assert_eq!(of(bad).unwrap_err().code, Code::UNSUPPORTED_ENCODING, "{bad:?}");
    }
}

#[tokio::test]
async fn what_unpacks_takes_room_from_the_first_byte_until_the_last() {
    let all = 32 << 20;
    for (encoding, packed) in [(Encoding::Gzip, gzip(&[7; 1024])), (Encoding::Zstd, zstd(&[7; 1024]))] {
        let in_flight = InFlight::new(all);
        let mut room = in_flight.empty();
        let (sender, body) = tokio::sync::mpsc::channel::<Bytes>(1);
        let pieces = futures_util::stream::unfold(body, async |mut body| {
            body.recv().await.map(|piece| (Ok::<_, io::Error>(Frame::data(piece)), body))
        });
        let mut body = Body::new(StreamBody::new(Box::pin(pieces)));
        let limits = patient();
        let pace = limits.begin();
        let mut unpacking = Box::pin(unpack(encoding, &mut body, LIMIT, &pace, &mut room));
        assert!(futures_util::poll!(&mut unpacking).is_pending());
        assert_eq!(in_flight.left(), all, "{encoding:?}: nothing has come yet");
        sender.send(packed.into()).await.unwrap();
        assert!(futures_util::poll!(&mut unpacking).is_pending());
        assert_eq!(all - in_flight.left(), encoding.room(1024) + 1024, "{encoding:?}");
        drop(sender);
        assert_eq!(unpacking.await.unwrap(), [7; 1024][..]);
        assert_eq!(all - in_flight.left(), 1024, "{encoding:?}: it is given back");
    }
}
