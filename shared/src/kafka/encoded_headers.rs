//! Encodes headers in the format of Kafka's log (record format 2), so that one header's value can hold other headers.
//!
//! A number is a zigzag varint; the headers are their count and then, for each, the name's length, the name, the
//! value's length (-1 for null) and the value.

use super::Header;

pub(super) fn encode<'a>(headers: impl ExactSizeIterator<Item = Header<'a>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_length(&mut bytes, Some(headers.len()));
    for (name, value) in headers {
        put_length(&mut bytes, Some(name.len()));
        bytes.extend_from_slice(name);
        put_length(&mut bytes, value.map(<[u8]>::len));
        bytes.extend_from_slice(value.unwrap_or_default());
    }
    bytes
}

/// Decodes the output of [`encode`]; `None` for anything else.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Header<'_>>> {
    let count = take_length(&mut bytes)??;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = take_length(&mut bytes)??;
        let name = bytes.split_off(..name)?;
        let value = match take_length(&mut bytes)? {
            Some(length) => Some(bytes.split_off(..length)?),
            None => None,
        };
        headers.push((name, value));
    }
    bytes.is_empty().then_some(headers)
}

fn put_length(bytes: &mut Vec<u8>, length: Option<usize>) {
    // The zigzag of n is 2n, and that of -1 is 1. No part of a record is longer than an i32 counts.
    let mut left = length.map_or(1, |length| (length as u64) << 1);
    while left >= 0x80 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
}

/// A length; `Some(None)` is the length of null, and `None` means malformed input.
fn take_length(bytes: &mut &[u8]) -> Option<Option<usize>> {
    let mut number = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return match number {
                1 => Some(None),
                even if even.is_multiple_of(2) => Some(Some(usize::try_from(even / 2).ok()?)),
                _ => None,
            };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_kafkas_encoding() {
        let long = [7; 200];
        let headers: [Header<'_>; 3] = [(b"a", Some(b"")), (b"\xff", None), (b"", Some(&long))];
        let mut expected = vec![6, 2, b'a', 0, 2, 0xff, 1, 0, 0x90, 0x03];
        expected.extend(long);
        assert_eq!(encode(headers.into_iter()), expected);
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out(
            headers in prop::collection::vec((any::<Vec<u8>>(), any::<Option<Vec<u8>>>()), 0..8)
        ) {
            let headers: Vec<Header<'_>> = headers.iter().map(|(n, v)| (n.as_slice(), v.as_deref())).collect();
            let bytes = encode(headers.iter().copied());
            prop_assert_eq!(decode(&bytes), Some(headers));
            for end in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..end]), None);
            }
        }

        #[test]
        fn any_bytes_are_headers_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(headers) = decode(&bytes) {
                let again = encode(headers.iter().copied());
                prop_assert_eq!(decode(&again), Some(headers));
            }
        }
    }
}
