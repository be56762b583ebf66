//! Closes a schema: what it does not name may not be there.

use serde_json::{Map, Value};

/// The schema for producers: no object has other members than its `properties`. An object without `properties` is free.
pub(super) fn closed(open: &Value) -> Value {
    let Value::Object(open) = open else { return open.clone() };
    let mut closed: Map<String, Value> = open.clone();
    if let Some(Value::Object(properties)) = closed.get_mut("properties") {
        for property in properties.values_mut() {
            *property = self::closed(property);
        }
        closed.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if let Some(items) = closed.get_mut("items") {
        *items = self::closed(items);
    }
    Value::Object(closed)
}
