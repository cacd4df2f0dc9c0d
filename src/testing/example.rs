//! A value of a JSON Schema.

use serde_json::{Map, Value, json};

/// How deep schemas may lie in each other: one that holds itself ends here.
const DEEPEST: usize = 16;

/// A value that a JSON Schema takes: the first of its choices, its smallest number, its shortest text, every property.
///
/// Reads `type`, `const`, `enum`, `properties`, `items`, `minItems`, `minimum`, `exclusiveMinimum`, `minLength`, `format`
/// (`date`, `date-time`, `email`, `uuid`), `contentEncoding`, `anyOf`, `oneOf`, `allOf` and local `$ref`s. What else a schema asks
/// for, such as a `pattern`, it does not satisfy: say the value yourself, in [`Cast::body`](super::Cast::body).
#[must_use]
pub fn example(schema: &Value) -> Value {
    of(schema, schema, DEEPEST)
}

fn of(schema: &Value, root: &Value, deep: usize) -> Value {
    let Some(left) = deep.checked_sub(1) else { return Value::Null };
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().find(|value| !value.is_null()).cloned().unwrap_or_default();
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#')) {
        return root.pointer(target).map_or(Value::Null, |target| of(target, root, left));
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(choice).and_then(Value::as_array) {
            let value = choices.iter().map(|choice| of(choice, root, left)).find(|value| !value.is_null());
            return value.unwrap_or_default();
        }
    }
    let mut value = match kind(schema) {
        "object" => Value::Object(members(schema, root, left)),
        "array" => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).max(1);
            let item = schema.get("items").map_or(Value::Null, |items| of(items, root, left));
            Value::Array((0..least).map(|_| item.clone()).collect())
        }
        "integer" => json!(whole(schema)),
        "number" => json!(least(schema)),
        "boolean" => json!(true),
        "string" => json!(text(schema)),
        _ => Value::Null,
    };
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        match (&mut value, of(part, root, left)) {
            (Value::Object(value), Value::Object(part)) => value.extend(part),
            (value, part) => *value = part,
        }
    }
    value
}

/// Its type; the first that is not null, if it has several.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ => "null",
    }
}

fn members(schema: &Value, root: &Value, deep: usize) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, schema)| (name.clone(), of(schema, root, deep))).collect()
}

fn whole(schema: &Value) -> i64 {
    let at_least = schema.get("minimum").and_then(Value::as_i64);
    at_least.or_else(|| schema.get("exclusiveMinimum")?.as_i64()?.checked_add(1)).unwrap_or(1)
}

fn least(schema: &Value) -> f64 {
    let at_least = schema.get("minimum").and_then(Value::as_f64);
    let more_than = schema.get("exclusiveMinimum").and_then(Value::as_f64).map(|bound| bound + 1.0);
    at_least.or(more_than).unwrap_or(1.0)
}

fn text(schema: &Value) -> String {
    let about = |key| schema.get(key).and_then(Value::as_str);
    let text = match (about("format"), about("contentEncoding")) {
        (Some("date"), _) => "2026-02-03",
        (Some("date-time"), _) => "2026-02-03T08:00:00Z",
        (Some("email"), _) => "somebody@example.org",
        (Some("uuid"), _) => "00000000-0000-0000-0000-000000000000",
        (_, Some("base64")) => "QQ==",
        _ => "a",
    };
    let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
    let least = usize::try_from(least).unwrap_or(usize::MAX).min(1 << 16);
    if text.len() < least { "a".repeat(least) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_schema_is_filled_in() {
        let schema = json!({
            "type": "object",
            "$defs": { "Line": { "type": "object", "properties": { "pence": { "type": "integer", "exclusiveMinimum": 0 } } } },
            "properties": {
                "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" }, "minItems": 2 },
                "kind": { "enum": [null, "holiday"] },
                "sex": { "anyOf": [{ "type": "null" }, { "const": "other" }] },
                "when": { "type": ["null", "string"], "format": "date-time" },
                "who": { "type": "string", "format": "uuid" },
                "text": { "type": "string", "minLength": 3 },
                "share": { "type": "number", "minimum": 0.5 },
                "both": { "allOf": [{ "type": "object", "properties": { "yes": { "type": "boolean" } } }] },
            },
        });
        let expected = json!({
            "lines": [{ "pence": 1 }, { "pence": 1 }], "kind": "holiday", "sex": "other", "when": "2026-02-03T08:00:00Z",
            "who": "00000000-0000-0000-0000-000000000000", "text": "aaa", "share": 0.5, "both": { "yes": true },
        });
        assert_eq!(example(&schema), expected);
        assert_eq!(example(&json!({})), Value::Null);
        assert_eq!(example(&json!({ "enum": [] })), Value::Null);
    }

    #[test]
    fn a_schema_that_holds_itself_ends() {
        let schema = json!({ "type": "object", "properties": { "next": { "$ref": "#" } } });
        assert!(example(&schema).to_string().len() < 1_000);
    }
}
