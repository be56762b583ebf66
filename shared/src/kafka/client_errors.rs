//! What a consumer fetches next, with the place of an error.
//!
//! librdkafka says with an error at which batch it was met. rdkafka hands on the error's code alone, and who looks for
//! the end of a batch that cannot be read has to know where it begins.

#![expect(unsafe_code, reason = "librdkafka's own interface, of which rdkafka leaves out a part")]

use std::slice;
use std::time::Duration;

use rdkafka::bindings::{rd_kafka_consumer_poll, rd_kafka_message_destroy};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

/// What a consumer met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// A record, at this offset.
    Record(i64),
    /// The end of the partition.
    End,
    /// An error.
    Failed {
        /// Of a batch that cannot be read, its first offset.
        offset: i64,
        /// Its code.
        code: RDKafkaErrorCode,
        /// What librdkafka says of it.
        text: String,
    },
}

/// Takes the next thing that a consumer of one partition fetched; waits so long for it.
pub fn next_fetched<C: ConsumerContext>(consumer: &BaseConsumer<C>, timeout: Duration) -> Option<Fetched> {
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle is that of a consumer that is alive, and stays so during the call.
    let message = unsafe { rd_kafka_consumer_poll(consumer.client().native_ptr(), millis) };
    // SAFETY: it is null, or a message that is ours alone until it is destroyed below.
    let taken = unsafe { message.as_ref() }?;
    let fetched = match taken.err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Fetched::Record(taken.offset),
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Fetched::End,
        error => {
            let text = if taken.payload.is_null() {
                String::new()
            } else {
                // SAFETY: an error's payload is its text, so many bytes, which live until the message is destroyed.
                let bytes = unsafe { slice::from_raw_parts(taken.payload.cast::<u8>(), taken.len) };
                String::from_utf8_lossy(bytes).into_owned()
            };
            Fetched::Failed { offset: taken.offset, code: error.into(), text }
        }
    };
    // SAFETY: the message came from `rd_kafka_consumer_poll`, and nothing of it is used from here on.
    unsafe { rd_kafka_message_destroy(message) };
    Some(fetched)
}
