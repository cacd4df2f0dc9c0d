//! The OpenAPI document against the routes.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Value, json};
use tower_ward::axum::Access;

use crate::harness::*;

async fn document(site: &Site) -> Value {
    let reply = site.guest(HOME).get("/api/openapi.json").await;
    reply.expect(200);
    assert_eq!(reply.header("content-type"), "application/json");
    reply.json()
}

fn operations(document: &Value) -> BTreeMap<(String, String), &Value> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &'_ Value)| (path.clone(), item.as_object().unwrap().keys().cloned().collect());
    let keys: Vec<(String, Vec<String>)> = paths.iter().map(of).collect();
    let mut found = BTreeMap::new();
    for (path, methods) in keys {
        for method in methods {
            found.insert((path.clone(), method.to_uppercase()), &document["paths"][&path][&method]);
        }
    }
    found
}

// proves CLA-46
#[tokio::test]
async fn every_route_is_in_the_document_with_its_permission_and_roles() {
    let site = Site::start().await;
    let document = document(&site).await;
    let mut operations = operations(&document);
    let policy = site.ward.policy();
    for route in site.router().routes() {
        assert!(!route.methods().is_empty(), "{} does not say which methods it answers", route.path());
        for method in route.methods().iter().filter(|m| **m != Method::HEAD) {
            let name = (route.path().to_owned(), method.to_string());
            let operation = operations.remove(&name).unwrap_or_else(|| panic!("{name:?} is not in the document"));
            match route.access() {
                Access::Permission(permission) => {
                    assert_eq!(operation["x-permission"], permission.id(), "{name:?}");
                    assert_eq!(operation["x-opens"], json!(permission.opens()), "{name:?}");
                    assert_eq!(operation["security"], json!([{ "bearer": [] }]), "{name:?}");
                    let roles = operation["x-roles"].as_object().unwrap();
                    for role in ROLES {
                        let relations: Vec<&str> = policy.relations(role, permission.id()).names().collect();
                        let said = roles.get(role).cloned().unwrap_or_else(|| json!([]));
                        assert_eq!(said, json!(relations), "{name:?} {role}");
                    }
                    assert!(roles.keys().all(|role| policy.has_role(role)), "{name:?}");
                }
                Access::Public(reason) => {
                    assert_eq!(operation["x-public"], *reason, "{name:?}");
                    assert_eq!(operation["security"], json!([]), "{name:?}");
                    assert!(operation.get("x-permission").is_none(), "{name:?}");
                }
            }
        }
    }
    assert!(operations.is_empty(), "no route stands behind {:?}", operations.keys());
}

#[tokio::test]
async fn the_document_holds_together() {
    let site = Site::start().await;
    let document = document(&site).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut ids = BTreeSet::new();
    for ((path, method), operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "two operations are called {id}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        let mut parameters: Vec<&str> = operation["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|p| p["in"] == "path")
            .map(|p| p["name"].as_str().unwrap())
            .collect();
        let mut named: Vec<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        parameters.sort_unstable();
        named.sort_unstable();
        assert_eq!(parameters, named, "{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')) && responses.contains_key("default"), "{path}");
        // Whatever takes a body says of what shape.
        assert_eq!(
            operation.get("requestBody").is_some(),
            ["POST", "PATCH"].contains(&method.as_str()) && path != "/api/logout",
            "{method} {path}"
        );
    }
    references(&document, &document);
}

/// Every reference leads somewhere in the document.
fn references(document: &Value, node: &Value) {
    match node {
        Value::Object(map) => {
            if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                let pointer = target.strip_prefix('#').expect("a reference to elsewhere");
                assert!(document.pointer(pointer).is_some(), "`{target}` leads nowhere");
            }
            map.values().for_each(|value| references(document, value));
        }
        Value::Array(list) => list.iter().for_each(|value| references(document, value)),
        _ => {}
    }
}

/// What the document says a route answers is what it answers: the keys of the schema are those of the body.
#[tokio::test]
async fn answers_have_the_shape_that_the_document_says() {
    let site = Site::start().await;
    let document = document(&site).await;
    let owner = site.login(HOME, "owner").await;
    let staff = owner.get("/api/staff").await.json();
    let employee = staff["items"].as_array().unwrap().iter().find_map(|s| s["employee"].as_str()).unwrap().to_owned();
    for ((path, method), operation) in operations(&document) {
        if method != "GET" || path == "/healthz" || path == "/api/openapi.json" {
            continue;
        }
        let id = if path.starts_with("/api/employees") {
            employee.clone()
        } else {
            site.patient("harbour-patient-001").to_string()
        };
        let path = attached(&owner, &path, &id).await;
        let reply = owner.get(&fill(&path, id, "")).await;
        reply.expect(200);
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        shape(schema, &reply.json(), &path);
    }
}

#[tokio::test]
async fn the_document_says_what_a_patch_may_clear_and_what_a_search_finds() {
    let site = Site::start().await;
    let document = document(&site).await;
    let body = |path: &str| &document["paths"][path]["patch"]["requestBody"]["content"]["application/json"]["schema"];
    let patient = body("/api/patients/{id}");
    assert_eq!(patient["required"], json!(["version"]));
    for (field, kind) in [
        ("given", json!("string")),
        ("family", json!("string")),
        ("birth_date", json!("string")),
        ("sex", json!("string")),
        ("phone", json!(["string", "null"])),
        ("email", json!(["string", "null"])),
        ("address", json!(["string", "null"])),
        ("nhs_number", json!(["string", "null"])),
    ] {
        assert_eq!(patient["properties"][field]["type"], kind, "{field}");
        assert_eq!(patient["properties"][field].get("default"), None, "{field}: what is absent stays");
    }
    let summary = body("/api/patients/{id}/summary");
    assert_eq!(summary["required"], json!(["version"]));
    for field in ["conditions", "allergies"] {
        assert_eq!(summary["properties"][field]["type"], "array", "{field}");
        assert_eq!(summary["properties"][field].get("default"), None, "{field}: what is absent stays");
    }
    let search = document["paths"]["/api/patients"]["get"]["parameters"].as_array().unwrap();
    let q = search.iter().find(|p| p["name"] == "q").unwrap();
    assert!(q["schema"]["description"].as_str().unwrap().starts_with("Whole words"));
}

fn shape(schema: &Value, value: &Value, at: &str) {
    match value {
        Value::Object(map) => {
            let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("{at}: {schema}"));
            for (key, value) in map {
                let property = properties.get(key).unwrap_or_else(|| panic!("{at}: `{key}` is not in the document"));
                shape(property, value, &format!("{at}.{key}"));
            }
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(map.contains_key(required.as_str().unwrap()), "{at}: {required} is missing");
            }
        }
        Value::Array(list) => {
            assert_eq!(schema["type"], "array", "{at}");
            list.iter().for_each(|value| shape(&schema["items"], value, at));
        }
        Value::Null => assert!(schema["type"].to_string().contains("null"), "{at}: {schema}"),
        Value::String(_) => assert!(schema["type"].to_string().contains("string"), "{at}: {schema}"),
        Value::Bool(_) => assert_eq!(schema["type"], "boolean", "{at}"),
        Value::Number(_) => {
            assert!(["number", "integer"].iter().any(|t| schema["type"].to_string().contains(t)), "{at}: {schema}");
        }
    }
}
