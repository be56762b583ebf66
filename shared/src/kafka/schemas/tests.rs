//! What schemas take, which ones load, and which versions get along: decided by the library of JSON Schema for
//! generated documents.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use super::*;

const ORDER: &str = r#"{
    "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "/schemas/order.placed/1", "title": "An order",
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "at": {"type": "string", "format": "date-time"},
        "state": {"type": "string", "enum": ["new", "old"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "hash": {"type": "string", "pattern": "^[0-9a-f]{4}$"},
        "name": {"type": "string", "minLength": 1, "maxLength": 3},
        "place": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
        "free": {"type": "object"},
        "lines": {"type": "array", "minItems": 1, "maxItems": 2, "items": {
            "type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]
        }}
    },
    "required": ["id"]
}"#;
static PLACED: EventSchema = EventSchema::new("order.placed", 1, ORDER);
const ID: &str = "0198c5a2-7a3e-7000-8000-000000000001";

/// The fault of a document with the id and these members: where, and what.
fn fault(members: &str) -> Option<(String, String)> {
    let fault = PLACED.check(&format!(r#"{{"id":"{ID}"{members}}}"#)).err()?;
    assert_eq!((fault.event_type, fault.version), ("order.placed", 1));
    Some((fault.pointer, fault.reason))
}

#[test]
fn a_producers_document_has_what_the_schema_says_and_no_more() {
    assert_eq!(PLACED.uri(), "/schemas/order.placed/1");
    assert_eq!(PLACED.open()["title"], "An order");
    for good in [
        "",
        r#","at":"2026-01-02T03:04:05.678901Z","state":"new","count":9,"hash":"00ff","name":"äöü""#,
        r#","place":{"x":0.5},"free":{"any":{"thing":[1]}},"lines":[{"sku":"a"},{"sku":"b"}]"#,
    ] {
        assert_eq!(fault(good), None, "{good}");
    }
    for (members, pointer, reason) in [
        (r#","secret":1"#, "", "the schema has no secret"),
        (r#","place":{"x":1,"y":2}"#, "/place", "the schema has no y"),
        (r#","lines":[{"sku":"a","y":2}]"#, "/lines/0", "the schema has no y"),
        (r#","place":{}"#, "/place", "it has no x"),
        (r#","at":"planted""#, "/at", "it must have the format date-time"),
        (r#","state":"planted""#, "/state", "it is none of the values"),
        (r#","count":10"#, "/count", "it must be at most 9"),
        (r#","count":0"#, "/count", "it must be at least 1"),
        (r#","count":1.5"#, "/count", "it must be of the type integer"),
        (r#","hash":"planted""#, "/hash", "it must match ^[0-9a-f]{4}$"),
        (r#","free":null"#, "/free", "it must be of the type object"),
    ] {
        assert_eq!(fault(members), Some((pointer.to_owned(), reason.to_owned())), "{members}");
    }
    for (members, pointer) in [(r#","name":"planted""#, "/name"), (r#","lines":[]"#, "/lines")] {
        let (place, reason) = fault(members).unwrap();
        assert!(place == pointer && !reason.contains("planted"), "{place}: {reason}");
    }
    let said = PLACED.check("{}").unwrap_err().to_string();
    assert_eq!(said, r#"the data of order.placed breaks version 1 of its schema, at "": it has no id"#);
    let said = PLACED.check(r#"{"id":"planted""#).unwrap_err().reason;
    assert!(said.starts_with("it is not JSON") && !said.contains("planted"), "{said}");
}

#[test]
fn a_keyword_that_means_nothing_here_does_not_load() {
    let said = |schema: Value| keywords::check(&schema).unwrap_err();
    for (schema, why) in [
        (json!(true), r#"the schema at "" is not an object"#),
        (json!({}), "has no type that is one of object, array,"),
        (json!({"type": ["string", "null"]}), "has no type"),
        (json!({"type": "object", "additionalProperties": false}), "cannot have additionalProperties: false"),
        (json!({"type": "object", "properties": {"a": {"$ref": "#"}}}), r#"the schema at "/properties/a" has no type"#),
        (json!({"type": "object", "required": ["a"]}), "cannot have required"),
        (json!({"type": "string", "minimum": 1}), "cannot have minimum"),
        (json!({"type": "string", "format": "email"}), r#"cannot have format: "email""#),
        (json!({"type": "string", "minLength": -1}), "cannot have minLength"),
        (json!({"type": "string", "enum": []}), "cannot have enum"),
        (json!({"type": "array", "items": [{"type": "string"}]}), "cannot have items"),
        (json!({"type": "array", "items": {"oneOf": []}}), r#"the schema at "/items" has no type"#),
        (json!({"type": "object", "properties": []}), "cannot have properties"),
    ] {
        let said = said(schema.clone());
        assert!(said.contains(why), "{schema}: {said}");
    }
    static BROKEN: EventSchema = EventSchema::new("broken", 1, r#"{"type":"object","oneOf":[]}"#);
    let fault = BROKEN.check("{}").unwrap_err();
    assert!(fault.reason.contains("cannot have oneOf"), "{fault}");
    assert_eq!(BROKEN.open(), &Value::Null);
}

#[test]
fn what_breaks_is_told_with_its_place() {
    let old: Value = serde_json::from_str(ORDER).unwrap();
    let told = |change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        breaks(&old, &new)
    };
    let none: [String; 0] = [];
    assert_eq!(told(|new| new["title"] = json!("another")), none);
    assert_eq!(told(|new| new["properties"]["more"] = json!({"type": "string"})), none);
    assert_eq!(told(|new| drop(new["properties"].as_object_mut().unwrap().remove("name"))), none, "it was optional");
    assert_eq!(told(|new| new["properties"]["state"]["enum"] = json!(["old", "new"])), none, "the order means nothing");
    assert_eq!(told(|new| new["required"] = json!(["id", "at"])), [r#""" has another required"#]);
    let of_state = [r#""/properties/state" has another enum"#];
    assert_eq!(told(|new| new["properties"]["state"]["enum"] = json!(["new", "old", "lost"])), of_state);
    assert_eq!(told(|new| new["properties"]["state"]["enum"] = json!(["new"])), of_state);
    assert_eq!(
        told(|new| new["properties"]["count"] = json!({"type": "number", "minimum": 1})),
        [r#""/properties/count" has another type"#, r#""/properties/count" has another maximum"#]
    );
    assert_eq!(
        told(|new| new["properties"]["lines"]["items"]["properties"]["sku"]["maxLength"] = json!(9)),
        [r#""/properties/lines/items/properties/sku" has another maxLength"#]
    );
    assert_eq!(
        told(|new| new["properties"]["free"]["properties"] = json!({"a": {"type": "string"}})),
        [r#""/properties/free" has properties in only one of them"#]
    );
}

/// A schema of a value.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": "string", "maxLength": 1})),
        Just(json!({"type": "string", "enum": ["a", "b"]})),
        Just(json!({"type": "integer"})),
        Just(json!({"type": "integer", "minimum": 1})),
        Just(json!({"type": "number"})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "object"})),
        Just(json!({"type": "array"})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![inner.clone().prop_map(|items| json!({"type": "array", "items": items})), object(inner),]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let members = prop::collection::btree_map(select(vec!["a", "b", "c"]), inner, 0..3);
    (members, subsequence(vec!["a", "b", "c"], 0..3)).prop_map(|(members, required)| {
        let required: Vec<_> = required.into_iter().filter(|name| members.contains_key(name)).collect();
        json!({"type": "object", "properties": members, "required": required})
    })
}

/// Another version of a schema: some members come and go, or are others.
fn another(old: Value) -> impl Strategy<Value = (Value, Value)> {
    let change = (select(vec!["a", "b", "c"]), prop::option::of(schema()), any::<bool>());
    prop::collection::vec(change, 0..3).prop_map(move |changes| {
        let mut new = old.clone();
        for (name, value, requires) in changes {
            let members = new["properties"].as_object_mut().unwrap();
            match value {
                Some(value) => drop(members.insert(name.to_owned(), value)),
                None => drop(members.remove(name)),
            }
            let is_there = members.contains_key(name);
            let required = new["required"].as_array_mut().unwrap();
            required.retain(|other| other != name);
            if is_there && requires {
                required.push(json!(name));
            }
        }
        (old.clone(), new)
    })
}

fn document() -> impl Strategy<Value = Value> {
    let leaf =
        select(vec![json!("a"), json!("bb"), json!(""), json!(0), json!(7), json!(1.5), json!(true), json!(null)]);
    let inner = leaf.prop_recursive(3, 12, 3, |inner| {
        let members = prop::collection::btree_map(select(vec!["a", "b", "c"]), inner.clone(), 0..3);
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
            members.prop_map(|members| json!(members)),
        ]
    });
    prop::collection::btree_map(select(vec!["a", "b", "c"]), inner, 0..4).prop_map(|members| json!(members))
}

/// A document that a schema takes, or nearly: with the values of a given one where they fit.
fn fitting(schema: &Value, given: &Value) -> Value {
    let or = |fits: bool, else_this: Value| if fits { given.clone() } else { else_this };
    match schema["type"].as_str().unwrap() {
        "object" => match schema.get("properties").and_then(Value::as_object) {
            Some(properties) => {
                let required = schema["required"].as_array().unwrap();
                let members = properties.iter().filter_map(|(name, schema)| {
                    let is_there = given.get(name).is_some() || required.contains(&json!(name));
                    is_there.then(|| (name.clone(), fitting(schema, given.get(name).unwrap_or(&Value::Null))))
                });
                Value::Object(members.collect())
            }
            None => or(given.is_object(), json!({})),
        },
        "array" => match (schema.get("items"), given.as_array()) {
            (Some(items), Some(given)) => given.iter().map(|given| fitting(items, given)).collect(),
            _ => or(given.is_array(), json!([])),
        },
        "string" => or(given.is_string(), json!("a")),
        "integer" => or(given.is_u64(), json!(1)),
        "number" => or(given.is_number(), json!(0.5)),
        "boolean" => or(given.is_boolean(), json!(true)),
        other => panic!("{other}"),
    }
}

proptest! {
    /// Two versions get along if no document of a producer of one is refused by a consumer of the other one.
    #[test]
    fn versions_that_get_along_take_each_others_documents(
        (old, new) in object(schema()).prop_flat_map(another), documents in prop::collection::vec(document(), 1..8)
    ) {
        prop_assert!(keywords::check(&old).is_ok() && keywords::check(&new).is_ok());
        let get_along = breaks(&old, &new).is_empty();
        prop_assert_eq!(get_along, breaks(&new, &old).is_empty(), "it is the same from both sides");
        for (producer, consumer) in [(&old, &new), (&new, &old)] {
            let closed = Compiled::of("/closed", closed::closed(producer)).unwrap();
            let open = Compiled::of("/open", consumer.clone()).unwrap();
            for given in &documents {
                for written in [given.clone(), fitting(producer, given)] {
                    let is_written = closed.check(&written).is_ok();
                    prop_assert!(!is_written || !get_along || open.check(&written).is_ok(), "{} {}", producer, written);
                }
            }
        }
    }

    /// The open schema takes what the closed one does.
    #[test]
    fn a_consumer_takes_what_its_own_version_writes(schema in object(schema()), given in document()) {
        let closed = Compiled::of("/closed", closed::closed(&schema)).unwrap();
        let open = Compiled::of("/open", schema.clone()).unwrap();
        for written in [given.clone(), fitting(&schema, &given)] {
            prop_assert!(closed.check(&written).is_err() || open.check(&written).is_ok(), "{}", written);
        }
    }
}
