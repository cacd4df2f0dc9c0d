//! From an OpenAPI document: its operations, the places in their requests that take a text, and requests.

use std::fmt::Write as _;

use http::Method;
use serde_json::{Map, Value, json};

/// Something that may be asked of a server.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: Method,
    /// As a template.
    pub(super) path: String,
    /// What the document says of it.
    pub(super) said: Value,
    /// Where a text goes.
    pub(super) places: Vec<Place>,
}

/// Where in a request a text goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A part of the path.
    Path(String),
    /// A parameter of the query.
    Query(String),
    /// A header.
    Header(String),
    /// In the JSON body, as RFC 6901 points to it.
    Body(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(name) => write!(f, "path `{name}`"),
            Self::Query(name) => write!(f, "query `{name}`"),
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::Body(pointer) => write!(f, "body `{pointer}`"),
        }
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// A request, still in its parts.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// The template's parts.
    pub(super) path: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Value>,
}

/// Every operation of a document, in the order of paths and methods.
pub(super) fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("an OpenAPI document has paths") {
        for (method, said) in item.as_object().expect("a path has methods") {
            let method = method.to_uppercase().parse().expect("a method");
            let mut places = Vec::new();
            for parameter in said["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a parameter has a name").to_owned();
                if !takes_text(&parameter["schema"]) {
                    continue;
                }
                places.push(match parameter["in"].as_str() {
                    Some("path") => Place::Path(name),
                    Some("query") => Place::Query(name),
                    Some("header") => Place::Header(name),
                    other => panic!("{path}: `{name}` is in {other:?}"),
                });
            }
            texts(body_schema(said), "", &mut places);
            found.push(Operation { method, path: path.clone(), said: said.clone(), places });
        }
    }
    found
}

fn body_schema(said: &Value) -> &Value {
    &said["requestBody"]["content"]["application/json"]["schema"]
}

fn takes(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

fn takes_text(schema: &Value) -> bool {
    takes(schema, "string") || schema["enum"].as_array().is_some_and(|words| words.iter().any(Value::is_string))
}

/// The places in a body, in arrays the first item's.
fn texts(schema: &Value, at: &str, places: &mut Vec<Place>) {
    for key in ["anyOf", "oneOf", "allOf"] {
        schema[key].as_array().into_iter().flatten().for_each(|schema| texts(schema, at, places));
    }
    if takes_text(schema) {
        places.push(Place::Body(at.to_owned()));
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        texts(schema, &format!("{at}/{name}"), places);
    }
    if schema["items"].is_object() {
        texts(&schema["items"], &format!("{at}/0"), places);
    }
}

impl Operation {
    /// A request with every field of the body and every part of the path. `known` gives a value where the schema does not say
    /// enough, for `{name}` in the path and for `?name` in the query; of the query there is only what it gives.
    pub(super) fn sample(&self, known: &dyn Fn(&str) -> Option<Value>) -> Sample {
        let mut sample = Sample::default();
        for parameter in self.said["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a parameter has a name").to_owned();
            let or_example = |value: Option<Value>| plain(value.unwrap_or_else(|| example(&parameter["schema"])));
            match parameter["in"].as_str() {
                Some("path") => sample.path.push((name.clone(), or_example(known(&format!("{{{name}}}"))))),
                Some("header") => sample.headers.push((name.clone(), or_example(known(&name)))),
                _ => {
                    let value = known(&format!("?{name}"));
                    sample.query.extend(value.map(|value| (name, plain(value))));
                }
            }
        }
        let schema = body_schema(&self.said);
        sample.body = (!schema.is_null()).then(|| body(schema, known));
        sample
    }
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn body(schema: &Value, known: &dyn Fn(&str) -> Option<Value>) -> Value {
    if let Some(properties) = schema["properties"].as_object() {
        let field = |(name, schema): (&String, &Value)| {
            let value = known(name).unwrap_or_else(|| body(schema, known));
            (name.clone(), value)
        };
        return Value::Object(properties.iter().map(field).collect::<Map<_, _>>());
    }
    if schema["items"].is_object() {
        return json!([body(&schema["items"], known)]);
    }
    example(schema)
}

/// A value of a schema.
fn example(schema: &Value) -> Value {
    if let Some(word) = schema["enum"].as_array().and_then(|words| words.first()) {
        return word.clone();
    }
    if takes(schema, "string") {
        return match schema["format"].as_str() {
            Some("uuid") => json!("00000000-0000-0000-0000-000000000000"),
            Some("date") => json!("2026-02-03"),
            Some("date-time") => json!("2026-02-03T04:05:06Z"),
            _ => json!("word"),
        };
    }
    if takes(schema, "boolean") {
        return json!(true);
    }
    if takes(schema, "number") {
        return json!(1.5);
    }
    json!(schema["minimum"].as_i64().unwrap_or(1).max(1))
}

impl Sample {
    /// What stands in a place.
    pub(super) fn value(&self, place: &Place) -> String {
        let named = |list: &[(String, String)], name: &str| {
            list.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        match place {
            Place::Path(name) => named(&self.path, name),
            Place::Query(name) => named(&self.query, name),
            Place::Header(name) => named(&self.headers, name),
            Place::Body(pointer) => {
                let value = self.body.as_ref().and_then(|body| body.pointer(pointer));
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            }
        }
    }

    /// The same request with this text in a place.
    #[must_use]
    pub(super) fn with(mut self, place: &Place, text: &str) -> Self {
        let named = |list: &mut Vec<(String, String)>, name: &String| {
            list.retain(|(n, _)| n != name);
            list.push((name.clone(), text.to_owned()));
        };
        match place {
            Place::Path(name) => named(&mut self.path, name),
            Place::Query(name) => named(&mut self.query, name),
            Place::Header(name) => named(&mut self.headers, name),
            Place::Body(pointer) => {
                let value = self.body.as_mut().and_then(|body| body.pointer_mut(pointer));
                *value.expect("the place was found in the document, and the sample is made of it") = json!(text);
            }
        }
        self
    }

    /// Path and query. What is no letter, digit, hyphen or in `spared` is percent-encoded.
    pub(super) fn target(&self, template: &str, spared: &str) -> String {
        let mut target = template.to_owned();
        for (name, value) in &self.path {
            target = target.replace(&format!("{{{name}}}"), &encoded(value, spared));
        }
        for (n, (name, value)) in self.query.iter().enumerate() {
            let _ = write!(target, "{}{name}={}", if n == 0 { '?' } else { '&' }, encoded(value, spared));
        }
        target
    }
}

fn encoded(text: &str, spared: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || spared.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
