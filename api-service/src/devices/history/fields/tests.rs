use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn projected(fields: &str, payload: &str) -> String {
    let fields = Fields::parse(fields).unwrap();
    let payload: &RawValue = serde_json::from_str(payload).unwrap();
    serde_json::to_string(&fields.of(payload).unwrap()).unwrap()
}

#[test]
fn a_payload_without_what_nobody_asked_for() {
    const PAYLOAD: &str =
        r#"{"temp_c": 37.20, "status": null, "axes": [0.1, {"x": 1e2, "y": 2}, 3], "a/b": 1, "m~n": 2, "": {"": 5}}"#;
    for (fields, expected) in [
        ("/temp_c", r#"{"temp_c":37.20}"#),
        ("/status,/temp_c,/none", r#"{"status":null,"temp_c":37.20}"#),
        ("/axes/1/x", r#"{"axes":[null,{"x":1e2}]}"#),
        ("/axes/0,/axes/2", r#"{"axes":[0.1,null,3]}"#),
        ("/axes/0,/axes/1/y", r#"{"axes":[0.1,{"y":2}]}"#),
        ("/a~1b,/m~0n", r#"{"a/b":1,"m~n":2}"#),
        ("//", r#"{"":{"":5}}"#),
        ("/temp_c/x,/status/x,/axes/x,/axes/3,/axes/01,/axes/-,/axes/1/z", "{}"),
    ] {
        assert_eq!(projected(fields, PAYLOAD), expected, "{fields}");
    }
}

#[test]
fn what_is_no_pointer() {
    for text in ["", "temp_c", "/a,", "/a,b", "/a~2", "/~", "$.a"] {
        assert!(Fields::parse(text).is_none(), "{text}");
    }
    let many = |count| (0..count).map(|n| format!("/{n}")).collect::<Vec<_>>().join(",");
    assert!(Fields::parse(&many(MAX_FIELDS)).is_some());
    assert!(Fields::parse(&many(MAX_FIELDS + 1)).is_none());
}

#[test]
fn a_pointer_is_as_long_as_a_payload_can_be_deep() {
    let (long, deep) = ("/a".repeat(MAX_NAMES), MAX_NAMES - 1);
    let payload = format!("{}7{}", r#"{"a":"#.repeat(MAX_NAMES), "}".repeat(MAX_NAMES));
    assert_eq!(projected(&long, &payload), payload);
    let arrays = format!(r#"{{"a":{}7{}}}"#, "[".repeat(deep), "]".repeat(deep));
    assert_eq!(projected(&format!("/a{}", "/0".repeat(deep)), &arrays), arrays);
    for count in [MAX_NAMES + 1, 30_000] {
        assert!(Fields::parse(&"/".repeat(count)).is_none(), "{count}");
    }
}

#[test]
fn no_part_is_there_twice() {
    for twice in ["/a,/a", "/a,/b,/a", "/a,/a/b", "/a/b,/c,/a", "/a/b/c,/a-,/a/b", "/,//", "/m~0n,/m~0n/x"] {
        assert!(Fields::parse(twice).is_none(), "{twice}");
    }
    for apart in ["/a/b,/a/c", "/a,/ab", "/a~1b,/a", "/,/a,/b/", "/0,/00"] {
        assert!(Fields::parse(apart).is_some(), "{apart}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c~/]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let members = prop::collection::btree_map("[ab~/]{0,1}", inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// A pointer leads to the same value in the payload, in the projection, and in a row of the CSV; and what the
    /// projection has is in the payload, or null.
    #[test]
    fn each_pointer_leads_to_what_it_leads_to_in_the_payload(
        members in prop::collection::btree_map("[ab~/]{0,1}", value(), 0..4),
        pointers in prop::collection::vec(prop::collection::vec("[ab]|~0|~1|0|1|2|", 1..4), 1..5),
    ) {
        let payload = Value::Object(members.into_iter().collect());
        let pointers: Vec<String> = pointers.iter().map(|tokens| format!("/{}", tokens.join("/"))).collect();
        let fields = Fields::parse(&pointers.join(","));
        prop_assume!(fields.is_some());
        let fields = fields.unwrap();
        let text = payload.to_string();
        let raw: &RawValue = serde_json::from_str(&text).unwrap();
        let part = fields.of(raw).unwrap();
        let projection: Value = serde_json::from_str(&serde_json::to_string(&part).unwrap()).unwrap();
        for pointer in &fields.pointers {
            let expected = payload.pointer(&pointer.text);
            let found = part.at(pointer).map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap());
            prop_assert_eq!(found.as_ref(), expected, "{}", pointer.text);
            if expected.is_some() {
                prop_assert_eq!(projection.pointer(&pointer.text), expected, "{}", pointer.text);
            }
        }
        prop_assert!(is_part_of(&projection, &payload), "{} of {}", projection, payload);
    }
}

fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(parts), Value::Object(members)) => {
            parts.iter().all(|(name, part)| members.get(name).is_some_and(|member| is_part_of(part, member)))
        }
        (Value::Array(parts), Value::Array(items)) => {
            parts.len() <= items.len()
                && parts.iter().zip(items).all(|(part, item)| part.is_null() || is_part_of(part, item))
        }
        _ => part == whole,
    }
}

#[test]
fn a_number_keeps_its_digits() {
    let digits = "123456789012345678901234567890.10";
    assert_eq!(projected("/n", &format!(r#"{{"n": {digits}}}"#)), format!(r#"{{"n":{digits}}}"#));
    let fields = Fields::parse("/n").unwrap();
    let text = json!({"n": 1}).to_string();
    assert_eq!(fields.of(serde_json::from_str(&text).unwrap()).unwrap().at(&fields.pointers[0]).unwrap().get(), "1");
}
