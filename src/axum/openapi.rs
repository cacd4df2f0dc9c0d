//! The OpenAPI document, made from the routes.

use http::Method;
use serde_json::{Map, Value, json};

use super::{Access, Route};
use crate::access::Policy;

/// What the document says of a route beyond what the route itself says.
///
/// ```
/// use serde_json::json;
/// use tower_ward::{access::Grant, axum::{Access, Operation, Query, Route, Router}};
///
/// tower_ward::permissions! { pub ReadDiary = "diary.read"; }
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)] // a misspelt filter is a 400, not everything
/// struct Window { day: String }
///
/// async fn diary(_grant: Grant<ReadDiary>, Query(window): Query<Window>) -> String { window.day }
///
/// /// The document, and those routes that a stranger may ask.
/// fn routes(ward: &tower_ward::stack::Ward) -> (serde_json::Value, usize) {
///     let router: Router = Router::new(ward)
///         .get("/diary", diary)
///         .about(Operation::new("The diary of a day.").add_query("day", json!({ "type": "string", "format": "date" })));
///     let public = |route: &&Route| matches!(route.access(), Access::Public(_));
///     (router.openapi("The clinic", "1"), router.routes().iter().filter(public).count())
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use]
pub struct Operation {
    summary: &'static str,
    query: Vec<(&'static str, Value)>,
    pub(super) request: Option<Value>,
    response: Option<(u16, Value)>,
}

impl Eq for Operation {}

impl Operation {
    /// A route in a few words.
    pub fn new(summary: &'static str) -> Self {
        Self { summary, ..Self::default() }
    }

    /// Adds an optional query parameter with its JSON Schema.
    pub fn add_query(mut self, name: &'static str, schema: Value) -> Self {
        self.query.push((name, schema));
        self
    }

    /// The JSON Schema of the request's body.
    pub fn with_request(mut self, schema: Value) -> Self {
        self.request = Some(schema);
        self
    }

    /// The status and JSON Schema of the response when it succeeds.
    pub fn with_response(mut self, status: u16, schema: Value) -> Self {
        self.response = Some((status, schema));
        self
    }
}

/// OpenAPI 3.1: every route with its permission, and for every role the relations under which it is granted.
pub(super) fn document(title: &str, version: &str, routes: &[Route], policy: &Policy) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let methods: Vec<&Method> = route.methods.iter().filter(|m| **m != Method::HEAD).collect();
        for method in methods {
            let item = paths.entry(route.path.clone()).or_insert_with(|| json!({}));
            item[method.as_str().to_ascii_lowercase()] = operation(route, method, policy);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": title, "version": version },
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            "schemas": { "Problem": {
                "type": "object",
                "description": "RFC 9457",
                "required": ["type", "title", "status"],
                "properties": {
                    "type": { "type": "string", "format": "uri-reference" },
                    "title": { "type": "string" },
                    "status": { "type": "integer" },
                    "detail": { "type": "string" },
                    "field": { "type": "string" },
                    "line": { "type": "integer" },
                    "column": { "type": "integer" }
                }
            } }
        }
    })
}

fn operation(route: &Route, method: &Method, policy: &Policy) -> Value {
    let about = &route.operation;
    let problem = json!({ "description": "refused", "content": { "application/problem+json": {
        "schema": { "$ref": "#/components/schemas/Problem" }
    } } });
    let (status, schema) = about.response.clone().unwrap_or((200, json!({})));
    let success = if status == 204 {
        json!({ "description": "done" })
    } else {
        json!({ "description": "done", "content": { "application/json": { "schema": schema } } })
    };
    let mut responses = Map::new();
    responses.insert(status.to_string(), success);
    responses.insert("default".to_owned(), problem);
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } }))
        .collect();
    parameters
        .extend(about.query.iter().map(|(name, schema)| json!({ "name": name, "in": "query", "schema": schema })));
    if route.reason_required {
        let word = json!({ "type": "string", "pattern": "^[a-z][a-z0-9_.-]{0,63}$" });
        let header = |name: &str| json!({ "name": name, "in": "header", "required": true, "schema": word });
        parameters.extend([header("X-Purpose"), header("X-Reason")]);
    }
    let id: String = route.path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let mut operation = json!({
        "operationId": format!("{}{}", method.as_str().to_ascii_lowercase(), id.trim_end_matches('_')),
        "summary": about.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(schema) = &about.request {
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    match &route.access {
        Access::Permission(permission) => {
            operation["security"] = json!([{ "bearer": [] }]);
            operation["x-permission"] = json!(permission.id());
            operation["x-opens"] = json!(permission.opens());
            let roles: Map<String, Value> = policy
                .roles()
                .map(|role| (role, policy.relations(role, permission.id())))
                .filter(|(_, relations)| !relations.is_empty())
                .map(|(role, relations)| (role.to_owned(), json!(relations.names().collect::<Vec<_>>())))
                .collect();
            operation["x-roles"] = Value::Object(roles);
        }
        Access::Public(reason) => {
            operation["security"] = json!([]);
            operation["x-public"] = json!(reason);
        }
    }
    operation
}
