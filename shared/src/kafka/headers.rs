//! The header names of a record.

/// Header names, as in the Kafka protocol binding of CloudEvents 1.0.
pub mod header {
    /// CloudEvents `specversion`.
    pub const SPEC_VERSION: &str = "ce_specversion";
    /// CloudEvents `type`.
    pub const TYPE: &str = "ce_type";
    /// CloudEvents `source`.
    pub const SOURCE: &str = "ce_source";
    /// CloudEvents `id`.
    pub const ID: &str = "ce_id";
    /// CloudEvents `subject`: what the event is about.
    pub const SUBJECT: &str = "ce_subject";
    /// CloudEvents `time`: when it occurred, else when it was accepted.
    pub const TIME: &str = "ce_time";
    /// What the name of each attribute's header begins with.
    pub const ATTRIBUTE: &str = "ce_";
    /// The names of attributes that a stream's own extensions must not have.
    pub const ATTRIBUTES: [&str; 18] = [
        "specversion",
        "type",
        "source",
        "id",
        "subject",
        "time",
        "data",
        "datacontenttype",
        "dataschema",
        "acceptedat",
        "requestid",
        "userid",
        "correlationid",
        "causationid",
        "partitionkey",
        "sequence",
        "traceparent",
        "tracestate",
    ];
    /// Extension: when the API accepted it.
    pub const ACCEPTED_AT: &str = "ce_acceptedat";
    /// Extension: the HTTP request that brought it.
    pub const REQUEST_ID: &str = "ce_requestid";
    /// Extension: the token's subject.
    pub const USER_ID: &str = "ce_userid";
    /// Extension: what belongs together, through every hop.
    pub const CORRELATION_ID: &str = "ce_correlationid";
    /// Extension: the event that caused this one.
    pub const CAUSATION_ID: &str = "ce_causationid";
    /// Extension: the event's number among those of its aggregate, with leading zeros.
    pub const SEQUENCE: &str = "ce_sequence";
    /// The media type of the value.
    pub const CONTENT_TYPE: &str = "content-type";
    /// W3C Trace Context.
    pub const TRACEPARENT: &str = "traceparent";
    /// A redriven record's original topic.
    pub const ORIGIN_TOPIC: &str = "origin.topic";
    /// A redriven record's original partition.
    pub const ORIGIN_PARTITION: &str = "origin.partition";
    /// A redriven record's original offset.
    pub const ORIGIN_OFFSET: &str = "origin.offset";
    /// A redriven record's original append time, in milliseconds since the Unix epoch.
    pub const ORIGIN_TIMESTAMP: &str = "origin.timestamp";
    /// The consumer group whose dead letter was redriven: other groups ignore the record. Empty if no group had
    /// consumed the event: then it is for all groups.
    pub const REDRIVE_GROUP: &str = "redrive.group";
}
