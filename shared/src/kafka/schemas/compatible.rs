//! Whether two versions of a schema get along.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::keywords::{ASSERTIONS, members};

/// Every difference of two versions by which a document that a producer of one of them wrote could be refused by a
/// consumer of the other one, each with its place. Members that need not be there may come and go; their descriptions
/// and those of everything else may change. To be asked of a version and each one before it.
pub fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare("", old, new, &mut all);
    all
}

fn compare(place: &str, old: &Value, new: &Value, all: &mut Vec<String>) {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return all.push(format!("{place:?} is not an object in both"));
    };
    for keyword in ASSERTIONS {
        let (before, after) = (assertion(keyword, old), assertion(keyword, new));
        if before != after {
            all.push(format!("{place:?} has another {keyword}"));
        }
    }
    // A free object may have any members, those of the other version with any values.
    for keyword in ["properties", "items"] {
        if old.contains_key(keyword) != new.contains_key(keyword) {
            all.push(format!("{place:?} has {keyword} in only one of them"));
        }
    }
    for (name, before) in members(old) {
        if let Some((_, after)) = members(new).find(|(other, _)| *other == name) {
            compare(&format!("{place}/properties/{name}"), before, after, all);
        }
    }
    if let (Some(before), Some(after)) = (old.get("items"), new.get("items")) {
        compare(&format!("{place}/items"), before, after, all);
    }
}

/// A keyword's value; the order of names and of alternatives means nothing.
fn assertion<'a>(keyword: &str, schema: &'a Map<String, Value>) -> Option<BTreeSet<String>> {
    let value: &'a Value = match (keyword, schema.get(keyword)) {
        ("required", None) => return Some(BTreeSet::new()),
        (_, value) => value?,
    };
    match (keyword, value.as_array()) {
        ("required" | "enum", Some(values)) => Some(values.iter().map(Value::to_string).collect()),
        _ => Some(BTreeSet::from([value.to_string()])),
    }
}
