//! docs/events.md: each type of event with its schemas, who publishes it and who consumes it.

use shared::kafka::StreamSpec;
use shared::kafka::schemas::{EventSchema, Published};

use crate::consumer::registry::Registry;
use crate::source::HandlerSpec;

const BEGINNING: &str = "\
# Events

<!-- `make events` writes this page, from what the domains register. -->

Each record is a CloudEvent in [binary mode](adr/0009-cloudevents-in-binary-mode.md): its value is the data, and its \
attributes are headers (`ce_type`, …). Consumers ignore attributes and members that they do not know. Topics and groups \
have the names of their defaults here; [settings](settings.md) gives them others. How a schema may change: \
[schemas](../schemas/README.md).

| attribute | meaning |
|---|---|
| `type`, `id` | the tables below; the event's id, unique in its type and subject |
| `source`, `subject` | where it comes from; what it is about |
| `time`, `acceptedat` | when it happened; when it was accepted, or committed |
| `correlationid` | what belongs together: the caller's `X-Correlation-Id`, else the id of the first request; kept through every hop |
| `causationid` | the event that caused it; without one, a request did |
| `requestid`, `userid` | the request that began it; the subject of its token |
| `traceparent` (no `ce_` before it) | W3C Trace Context |
| `partitionkey`, `sequence` | of events that commands publish: the aggregate, which is the record's key; the event's number in it, from 1 without a gap, with leading zeros |
| `dataschema` | of events that commands publish: the schema of the data, as `GET /schemas/{type}/{version}` answers |
";

/// The page of what these domains publish and consume.
pub(super) fn page(registry: &Registry) -> String {
    let handlers: Vec<HandlerSpec> = registry.handlers.iter().map(|handler| handler.spec).collect();
    let mut page = BEGINNING.to_owned();
    for owner in handlers.iter().filter(|handler| handler.owner) {
        page.push_str(&of_stream(&owner.stream, &handlers, &registry.published));
    }
    page
}

fn of_stream(stream: &StreamSpec, handlers: &[HandlerSpec], published: &[&Published]) -> String {
    let StreamSpec { name, topic, dead_letters, types, extensions, .. } = stream;
    let mut lines = vec![
        format!("\n## {name}\n"),
        format!(
            "Topic `{}` (`{}`), dead letters in `{}` (`{}`).\n",
            topic.default, topic.variable, dead_letters.default, dead_letters.variable
        ),
        "| consumer | group |\n|---|---|".to_owned(),
    ];
    let of_it: Vec<_> = handlers.iter().filter(|handler| handler.stream.name == *name).collect();
    let groups = of_it
        .iter()
        .map(|HandlerSpec { name, group, .. }| format!("| `{name}` | `{}` (`{}`) |", group.default, group.variable));
    lines.extend(groups);
    if !extensions.is_empty() {
        lines.push(format!("\nIts events may have the attributes {}, too.", named(extensions)));
    }
    lines.push("\n| type | event | schemas | publisher | consumers |\n|---|---|---|---|---|".to_owned());
    for event_type in *types {
        let mut of_type: Vec<(&EventSchema, &str)> = Vec::new();
        for Published { domain, schemas, .. } in published.iter().filter(|published| published.stream == *name) {
            let schemas = schemas.iter().filter(|schema| schema.event_type == *event_type);
            of_type.extend(schemas.map(|schema| (*schema, *domain)));
        }
        let title = of_type.last().and_then(|(schema, _)| schema.open().get("title")?.as_str()).unwrap_or_default();
        let link = |(schema, _): &(&EventSchema, &str)| format!("[{0}](..{1}.json)", schema.version, schema.uri());
        let schemas: Vec<_> = of_type.iter().map(link).collect();
        let publisher = of_type.last().map(|(_, domain)| *domain).unwrap_or_default();
        let consumers = of_it.iter().filter(|handler| handler.types.contains(event_type)).map(|handler| handler.name);
        let consumers: Vec<_> = consumers.collect();
        lines.push(format!(
            "| `{event_type}` | {title} | {} | {publisher} | {} |",
            schemas.join(", "),
            named(&consumers)
        ));
    }
    lines.join("\n") + "\n"
}

fn named(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains;

    #[test]
    fn each_type_of_a_stream_has_a_schema_a_publisher_and_a_consumer() {
        let registry = domains::registry();
        let page = page(&registry);
        let row = |event_type: &str| {
            let begins = format!("| `{event_type}` |");
            let mut rows = page.lines().filter(|line| line.starts_with(&begins));
            let row = rows.next().unwrap_or_else(|| panic!("{event_type} is not on the page"));
            assert_eq!(rows.next(), None, "{event_type} is there twice");
            row.split(" | ").map(str::to_owned).collect::<Vec<_>>()
        };
        for HandlerSpec { stream, .. } in registry.handlers.iter().map(|handler| handler.spec) {
            for event_type in stream.types {
                let row = row(event_type);
                assert!(row.len() == 5 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
                assert_ne!(row[4], " |", "nobody consumes {event_type}");
            }
        }
        for schema in registry.published.iter().flat_map(|published| published.schemas) {
            row(schema.event_type);
        }
    }

    #[test]
    fn a_row_tells_who_publishes_and_who_consumes() {
        let page = page(&domains::registry());
        let row = "| `com.nedlia.campaign.ended` | A campaign was ended | \
            [1](../schemas/com.nedlia.campaign.ended/1.json) | ads | `validator` |";
        assert!(page.contains(row), "{page}");
        assert!(page.contains("| `read-model` | `placement-read-model` (`KAFKA_READ_MODEL_GROUP`) |"), "{page}");
    }
}
