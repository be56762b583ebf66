//! The schemas of devices' events.

use crate::kafka::schemas::{EventSchema, Published, event_schema};

static REPORTED: EventSchema = event_schema!("io.edge.device.reported.v1", 1);

/// The accepted events.
pub static PUBLISHED: Published = Published { domain: "devices", stream: "devices", schemas: &[&REPORTED] };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{DeviceStream, EventType};
    use crate::kafka::Stream as _;

    #[test]
    fn every_type_has_a_schema_which_takes_any_object() {
        let types: Vec<_> = PUBLISHED.schemas.iter().map(|schema| schema.event_type).collect();
        assert_eq!((&*types, PUBLISHED.stream), (EventType::ALL, DeviceStream::SPEC.name));
        assert_eq!(REPORTED.check(r#"{"any": {"member": [1]}}"#), Ok(()));
        assert_eq!(REPORTED.check("7").unwrap_err().reason, "it must be of the type object");
    }
}
