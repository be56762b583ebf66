//! A message's headers as raw bytes. This file and `client_errors.rs` have the only `unsafe` code of the product.
//!
//! rdkafka panics if a header's name is not UTF-8, and it cuts a name at its first NUL. Anybody who may write to a
//! topic can send such names, and a record must not crash its reader. librdkafka itself keeps the length of a name, but
//! its interface returns only a pointer to the bytes.

#![expect(unsafe_code, reason = "librdkafka's own interface, where rdkafka's panics")]

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ptr;
use std::slice;

use rdkafka::bindings::{
    RD_KAFKA_VERSION, rd_kafka_header_cnt, rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_message_headers,
    rd_kafka_resp_err_t,
};
use rdkafka::message::BorrowedMessage;

/// A header: its name, which may be any bytes, and its value, or `None` for null.
pub type Header<'m> = (&'m [u8], Option<&'m [u8]>);

/// librdkafka could not read the headers: there are more than 100,000, or they are malformed. It does not say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unread;

/// The error text for [`Unread`].
pub(super) const UNREAD: &str = "its headers could not be read: there are more than 100,000 of them, or they are not \
                                 encoded as Kafka's log has them";

/// librdkafka's memory layout of a header (`rd_kafka_header_s` in `rdkafka_header.h`): one allocation; the name and the
/// value follow these members, each with a NUL at its end.
#[repr(C)]
struct Layout {
    serialized_size: usize,
    value_size: usize,
    name_size: usize,
    value: *const c_char,
    name: [c_char; 1],
}

/// The layout is not a part of librdkafka's interface, so only this version, whose source was checked, is accepted.
/// librdkafka is linked statically from the sources that define this constant. Each new client checks the linked
/// version again ([`crate::kafka::client`]).
const _: () = assert!(
    RD_KAFKA_VERSION == 0x020c_01ff,
    "another librdkafka: compare rd_kafka_header_s and rd_kafka_header_add with `Layout`, then change the version here"
);

/// The headers of a message, in order. The message is borrowed mutably because librdkafka parses the headers on first
/// access, which two threads must not do at once.
pub(super) fn headers<'m>(message: &'m mut BorrowedMessage<'_>) -> Result<Vec<Header<'m>>, Unread> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive and exclusively borrowed; `list` is written before the call returns
    // "no error", and is then the message's own list, which is valid and unchanged as long as the message.
    let error = unsafe { rd_kafka_message_headers(message.ptr(), &raw mut list) };
    match error {
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT => return Ok(Vec::new()),
        _ => return Err(Unread),
    }
    // SAFETY: `list` is the message's list, see above.
    let count = unsafe { rd_kafka_header_cnt(list) };
    // SAFETY: `list` is the message's list, which lives for 'm at least, and every index is below its length.
    (0..count).map(|index| unsafe { header(list, index) }).collect()
}

/// One header of a list.
///
/// # Safety
/// `list` is a list of librdkafka with more than `index` headers, and does not change during `'m`.
unsafe fn header<'m>(list: *const rd_kafka_headers_t, index: usize) -> Result<Header<'m>, Unread> {
    let (mut name, mut value, mut value_size): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the caller guarantees the list; the three variables are written before the call returns "no error".
    let error = unsafe { rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut value_size) };
    if error != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(Unread);
    }
    // SAFETY: `name` points to the member `name` of a header, in exactly this version of librdkafka (checked above
    // at compile time), so the header begins `offset_of!(Layout, name)` bytes before it, in the same allocation,
    // aligned by malloc.
    let layout = unsafe { &*name.byte_sub(offset_of!(Layout, name)).cast::<Layout>() };
    // The value is also known from librdkafka's interface; both must agree.
    if layout.value.cast::<c_void>() != value || layout.value_size != value_size {
        return Err(Unread);
    }
    // SAFETY: librdkafka copied `name_size` bytes there, and nothing writes to them during 'm.
    let name = unsafe { slice::from_raw_parts(name.cast::<u8>(), layout.name_size) };
    if value.is_null() {
        return Ok((name, None));
    }
    // SAFETY: the same holds for the `value_size` bytes of the value.
    let value = unsafe { slice::from_raw_parts(value.cast::<u8>(), value_size) };
    Ok((name, Some(value)))
}
