//! The next message or error of a consumer, with the offset of an error.
//!
//! librdkafka reports the offset of the batch that caused an error. rdkafka passes on only the error code, but finding
//! the end of an unreadable batch needs the batch's first offset.

#![expect(unsafe_code, reason = "librdkafka's own interface, of which rdkafka leaves out a part")]

use std::slice;
use std::time::Duration;

use rdkafka::bindings::{rd_kafka_consumer_poll, rd_kafka_message_destroy};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

/// What a consumer returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// A record, at this offset.
    Record(i64),
    /// The end of the partition.
    End,
    /// An error.
    Failed {
        /// The first offset of the batch, if the batch cannot be read.
        offset: i64,
        /// The error code.
        code: RDKafkaErrorCode,
        /// librdkafka's error text.
        text: String,
    },
}

/// Polls a consumer of one partition, and waits at most `timeout`.
pub fn next_fetched<C: ConsumerContext>(consumer: &BaseConsumer<C>, timeout: Duration) -> Option<Fetched> {
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle belongs to a consumer that is alive during the call.
    let message = unsafe { rd_kafka_consumer_poll(consumer.client().native_ptr(), millis) };
    // SAFETY: it is null, or a message that only this function uses until it is destroyed below.
    let taken = unsafe { message.as_ref() }?;
    let fetched = match taken.err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Fetched::Record(taken.offset),
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Fetched::End,
        error => {
            let text = if taken.payload.is_null() {
                String::new()
            } else {
                // SAFETY: an error's payload is its text of `len` bytes, which lives until the message is destroyed.
                let bytes = unsafe { slice::from_raw_parts(taken.payload.cast::<u8>(), taken.len) };
                String::from_utf8_lossy(bytes).into_owned()
            };
            Fetched::Failed { offset: taken.offset, code: error.into(), text }
        }
    };
    // SAFETY: the message came from `rd_kafka_consumer_poll`, and no reference to it is used after this.
    unsafe { rd_kafka_message_destroy(message) };
    Some(fetched)
}
