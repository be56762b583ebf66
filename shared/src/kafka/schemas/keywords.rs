//! The keywords of JSON Schema that a schema may have: few enough for [`breaks`](super::breaks) to know what each
//! means.

use serde_json::{Map, Value};

const TYPES: [&str; 6] = ["object", "array", "string", "integer", "number", "boolean"];
const FORMATS: [&str; 2] = ["uuid", "date-time"];
/// What a schema says to people, and not about values.
pub(super) const ANNOTATIONS: [&str; 4] = ["$schema", "$id", "title", "description"];
/// What a schema says about a value itself.
pub(super) const ASSERTIONS: [&str; 12] = [
    "type",
    "enum",
    "const",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "required",
];

/// Checks that each keyword is known here and has a value that makes sense. The error names the first one, with its
/// place.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    check_at("", schema)
}

fn check_at(place: &str, schema: &Value) -> Result<(), String> {
    let here = |what: String| format!("the schema at {place:?} {what}");
    let schema = schema.as_object().ok_or_else(|| here("is not an object".to_owned()))?;
    let of_type = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    if !TYPES.contains(&of_type) {
        return Err(here(format!("has no type that is one of {}", TYPES.join(", "))));
    }
    for (keyword, value) in schema {
        let is_known = is_known(keyword) && is_for(keyword, of_type);
        if !is_known || !is_sound(keyword, value, schema) {
            return Err(here(format!("cannot have {keyword}: {value}")));
        }
    }
    for (name, property) in members(schema) {
        check_at(&format!("{place}/properties/{name}"), property)?;
    }
    schema.get("items").map_or(Ok(()), |items| check_at(&format!("{place}/items"), items))
}

fn is_known(keyword: &str) -> bool {
    ANNOTATIONS.contains(&keyword) || ASSERTIONS.contains(&keyword) || matches!(keyword, "properties" | "items")
}

/// A keyword that says nothing about values of its type would look as if it did.
fn is_for(keyword: &str, of_type: &str) -> bool {
    match keyword {
        "properties" | "required" => of_type == "object",
        "items" | "minItems" | "maxItems" => of_type == "array",
        "format" | "pattern" | "minLength" | "maxLength" => of_type == "string",
        "minimum" | "maximum" => matches!(of_type, "integer" | "number"),
        _ => true,
    }
}

fn is_sound(keyword: &str, value: &Value, schema: &Map<String, Value>) -> bool {
    match keyword {
        "properties" => value.is_object(),
        "items" => value.is_object(),
        "required" => value.as_array().is_some_and(|names| {
            names.iter().all(|name| name.as_str().is_some_and(|name| members(schema).any(|(known, _)| known == name)))
        }),
        "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
        "format" => value.as_str().is_some_and(|format| FORMATS.contains(&format)),
        "minimum" | "maximum" => value.is_number(),
        "minLength" | "maxLength" | "minItems" | "maxItems" => value.is_u64(),
        "const" => true,
        _ => value.is_string(),
    }
}

/// The members that an object's schema names.
pub(super) fn members(schema: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, property)| (name.as_str(), property))
}
