//! The registry of the events' types: a JSON Schema for each type and version, in `schemas/<type>/<version>.json`.
//!
//! One file is two schemas. As it stands it is **open**: consumers ignore members that they do not know, so that a
//! later version may have more. Producers write what the **closed** one takes, which has no other members.
//! `schemas/lock.json` has the hash of each file, because a version that is published never changes.

mod closed;
mod compatible;
mod keywords;
#[cfg(test)]
mod lock;

use std::fmt;
use std::sync::OnceLock;

use boon::{Compiler, ErrorKind, SchemaIndex, Schemas, ValidationError};
use serde_json::Value;

pub use self::compatible::breaks;
use crate::runtime::redact::redact;

/// The schema of an event's data: a type and a version. A `static`, made by [`event_schema!`].
pub struct EventSchema {
    /// CloudEvents `type`.
    pub event_type: &'static str,
    /// Its version, from 1.
    pub version: u16,
    /// The file.
    pub text: &'static str,
    loaded: OnceLock<Result<Loaded, String>>,
}

/// The schemas that a domain publishes on a stream.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// The domain.
    pub domain: &'static str,
    /// The stream's name.
    pub stream: &'static str,
    /// Every version of every type.
    pub schemas: &'static [&'static EventSchema],
}

/// Data breaks the schema of its type. The text quotes no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the data of {event_type} breaks version {version} of its schema, at {pointer:?}: {reason}")]
pub struct SchemaFault {
    /// CloudEvents `type`.
    pub event_type: &'static str,
    /// The schema's version.
    pub version: u16,
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// What is wrong.
    pub reason: String,
}

struct Loaded {
    open: Value,
    closed: Compiled,
}

/// A schema that is ready to check values.
struct Compiled {
    schemas: Schemas,
    root: SchemaIndex,
}

/// The schema of this type and version: its file is compiled in.
macro_rules! event_schema {
    ($type:literal, $version:literal) => {
        $crate::kafka::schemas::EventSchema::new(
            $type,
            $version,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/", $type, "/", $version, ".json")),
        )
    };
}
pub(crate) use event_schema;

impl EventSchema {
    /// A schema from the text of its file.
    pub const fn new(event_type: &'static str, version: u16, text: &'static str) -> Self {
        Self { event_type, version, text, loaded: OnceLock::new() }
    }

    /// Where it is served; CloudEvents `dataschema`.
    pub fn uri(&self) -> String {
        format!("/schemas/{}/{}", self.event_type, self.version)
    }

    /// The schema for consumers: the file. `Null` if the file does not load.
    pub fn open(&self) -> &Value {
        self.load().map_or(&Value::Null, |loaded| &loaded.open)
    }

    /// Checks data against the schema for producers. The error is the first fault.
    pub fn check(&self, data: &str) -> Result<(), SchemaFault> {
        let fault = |pointer: String, reason: String| {
            let Self { event_type, version, .. } = *self;
            SchemaFault { event_type, version, pointer, reason }
        };
        let loaded = self.load().map_err(|why| fault(String::new(), why.to_owned()))?;
        let data: Value = serde_json::from_str(data)
            .map_err(|error| fault(String::new(), format!("it is not JSON (at column {})", error.column())))?;
        loaded.closed.check(&data).map_err(|(pointer, reason)| fault(pointer, reason))
    }

    fn load(&self) -> Result<&Loaded, &str> {
        let loaded = self.loaded.get_or_init(|| {
            let open: Value = serde_json::from_str(self.text).map_err(|error| error.to_string())?;
            keywords::check(&open)?;
            let closed = Compiled::of(&self.uri(), closed::closed(&open))?;
            Ok(Loaded { open, closed })
        });
        loaded.as_ref().map_err(String::as_str)
    }
}

impl fmt::Debug for EventSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri())
    }
}

impl Compiled {
    fn of(uri: &str, schema: Value) -> Result<Self, String> {
        // No server is asked: the schema refers to no other one.
        let url = format!("http://schemas.invalid{uri}");
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.enable_format_assertions();
        compiler.add_resource(&url, schema).map_err(|error| error.to_string())?;
        let root = compiler.compile(&url, &mut schemas).map_err(|error| error.to_string())?;
        Ok(Self { schemas, root })
    }

    /// The first fault: where, and what.
    fn check(&self, value: &Value) -> Result<(), (String, String)> {
        self.schemas.validate(value, self.root).map_err(|error| {
            let leaf = leaf(&error);
            (leaf.instance_location.to_string(), reason(&leaf.kind))
        })
    }
}

fn leaf<'a, 's, 'v>(error: &'a ValidationError<'s, 'v>) -> &'a ValidationError<'s, 'v> {
    error.causes.first().map_or(error, leaf)
}

fn reason(kind: &ErrorKind<'_, '_>) -> String {
    match kind {
        ErrorKind::Required { want } => format!("it has no {}", want.join(", ")),
        ErrorKind::AdditionalProperties { got } => format!("the schema has no {}", got.join(", ")),
        ErrorKind::Type { want, .. } => {
            let types: Vec<_> = want.iter().map(|one| one.to_string()).collect();
            format!("it must be of the type {}", types.join(" or "))
        }
        ErrorKind::Format { want, .. } => format!("it must have the format {want}"),
        ErrorKind::Pattern { want, .. } => format!("it must match {want}"),
        ErrorKind::Enum { .. } | ErrorKind::Const { .. } => "it is none of the values".to_owned(),
        ErrorKind::Minimum { want, .. } => format!("it must be at least {want}"),
        ErrorKind::Maximum { want, .. } => format!("it must be at most {want}"),
        // Lengths, and no text of the data.
        other => redact(&other.to_string()).into_owned(),
    }
}

#[cfg(test)]
mod tests;
