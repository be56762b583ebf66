//! `GET /asyncapi.json`: the events that are published, for tools that read AsyncAPI 3.0.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::kafka::header;
use shared::kafka::schemas::{EventSchema, Published};

pub(crate) const DOCUMENT: &str = "/asyncapi.json";

const DESCRIPTION: &str = "Records in the topics of Kafka: CloudEvents 1.0 in binary mode. The names of topics are \
    settings; a channel has the name of its stream. Ignore members that a schema does not have: a later version of it \
    may have more.";

/// The document of these schemas.
pub(crate) fn document(published: &[Published]) -> Value {
    let mut streams: BTreeMap<&str, Vec<(&str, &EventSchema)>> = BTreeMap::new();
    for Published { domain, stream, schemas } in published {
        streams.entry(stream).or_default().extend(schemas.iter().map(|schema| (*domain, *schema)));
    }
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for (stream, schemas) in streams {
        let mut of_channel = Map::new();
        for (domain, schema) in schemas {
            let name = format!("{}.{}", schema.event_type, schema.version);
            of_channel.insert(name.clone(), json!({"$ref": format!("#/components/messages/{name}")}));
            messages.insert(name, message(domain, schema));
        }
        let channel = json!({"address": null, "description": format!("The stream {stream}."), "messages": of_channel});
        channels.insert(stream.to_owned(), channel);
        let operation = json!({"action": "send", "channel": {"$ref": format!("#/channels/{stream}")}});
        operations.insert(format!("publish-{stream}"), operation);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": "Events", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": {"Attributes": attributes()}}
    })
}

fn message(domain: &str, schema: &EventSchema) -> Value {
    let mut payload = schema.open().clone();
    let summary = payload.get("title").cloned();
    if let Some(members) = payload.as_object_mut() {
        // AsyncAPI has its own dialect, of which our keywords are a part.
        members.remove("$schema");
        members.remove("$id");
    }
    json!({
        "name": schema.event_type,
        "summary": summary,
        "description": format!("Published by the domain {domain}. The schema of the data: `{}`.", schema.uri()),
        "contentType": "application/json",
        "headers": {"allOf": [
            {"$ref": "#/components/schemas/Attributes"},
            {"type": "object", "properties": {header::TYPE: {"const": schema.event_type}}}
        ]},
        "payload": payload
    })
}

/// The headers of a record.
fn attributes() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let required = [header::SPEC_VERSION, header::TYPE, header::SOURCE, header::ID, header::SUBJECT, header::TIME];
    json!({
        "type": "object",
        "required": required,
        "properties": {
            header::SPEC_VERSION: {"const": "1.0"},
            header::TYPE: text("CloudEvents `type`."),
            header::SOURCE: text("CloudEvents `source`."),
            header::ID: text("CloudEvents `id`. A record whose id came before is a repeat."),
            header::SUBJECT: text("CloudEvents `subject`: what the event is about."),
            header::TIME: text("CloudEvents `time`."),
            "ce_dataschema": text("The path of the data's schema, in the streams of commands."),
            "ce_partitionkey": text("The record's key, in the streams of commands."),
            "ce_sequence": text("The number of the event among those with its key, in the streams of commands: 20 digits."),
            "ce_correlationid": text("What belongs together: kept through every hop."),
            "ce_causationid": text("The id of the event that caused this one."),
            header::REQUEST_ID: text("The HTTP request that began it."),
            header::USER_ID: text("The subject of that request's token."),
            header::TRACEPARENT: text("W3C Trace Context.")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static MADE: EventSchema = EventSchema::new(
        "com.example.thing.made",
        1,
        r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"A thing was made","type":"object"}"#,
    );
    static SENT: EventSchema = EventSchema::new("com.example.letter.sent", 2, r#"{"title":"Sent","type":"object"}"#);
    static ALL: [Published; 2] = [
        Published { domain: "things", stream: "events", schemas: &[&MADE] },
        Published { domain: "letters", stream: "events", schemas: &[&SENT] },
    ];

    #[test]
    fn a_stream_of_two_domains_is_one_channel() {
        let document = document(&ALL);
        let messages = &document["channels"]["events"]["messages"];
        let names: Vec<_> = messages.as_object().unwrap().keys().collect();
        assert_eq!(names, ["com.example.letter.sent.2", "com.example.thing.made.1"]);
        for (name, message) in messages.as_object().unwrap() {
            let place = message["$ref"].as_str().unwrap();
            assert_eq!(place, format!("#/components/messages/{name}"));
            assert!(document.pointer(&place[1..]).is_some(), "{place}");
        }
        let made = &document["components"]["messages"]["com.example.thing.made.1"];
        assert_eq!((&made["summary"], &made["payload"]["type"]), (&json!("A thing was made"), &json!("object")));
        assert!(made["payload"].get("$schema").is_none(), "{made}");
        assert_eq!(document["operations"]["publish-events"]["channel"]["$ref"], "#/channels/events");
    }
}
