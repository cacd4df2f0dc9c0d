//! The routes as data: who may do what, printed.

use std::fmt::Write as _;

use http::Method;

use crate::access::{PermissionInfo, Policy};

/// What a route asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// A grant of this permission.
    Permission(PermissionInfo),
    /// Nothing, for this reason.
    Public(&'static str),
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub(super) methods: Vec<Method>,
    pub(super) path: String,
    pub(super) access: Access,
    pub(super) operation: super::Operation,
    pub(super) reason_required: bool,
}

impl Route {
    /// The methods that it answers.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// Its path, with parameters in braces.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a request must say what it is for: see [`Router::reason_required`](super::Router::reason_required).
    #[must_use]
    pub const fn is_reason_required(&self) -> bool {
        self.reason_required
    }

    /// The JSON Schema of the body that it takes, if [`about`](super::Router::about) said one.
    #[must_use]
    pub const fn request_schema(&self) -> Option<&serde_json::Value> {
        self.operation.request.as_ref()
    }

    /// What it asks for.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }
}

/// The matrix of routes and roles as text, one route a line, in the order of their paths: made to be kept as a golden
/// file, so that a change of who may do what shows in review.
pub(super) fn print(routes: &[Route], policy: &Policy) -> String {
    let roles: Vec<&str> = policy.roles().collect();
    let mut rows: Vec<Vec<String>> = Vec::with_capacity(routes.len() + 1);
    let mut head = vec!["methods".to_owned(), "path".to_owned(), "permission".to_owned()];
    head.extend(roles.iter().map(|r| (*r).to_owned()));
    for route in routes {
        let methods = route.methods.iter().map(Method::as_str).collect::<Vec<_>>().join("+");
        let mut row = vec![methods, route.path.clone()];
        match &route.access {
            Access::Permission(permission) => {
                row.push(permission.id().to_owned());
                row.extend(roles.iter().map(|role| {
                    let relations = policy.relations(role, permission.id());
                    if relations.is_empty() { "-".to_owned() } else { relations.names().collect::<Vec<_>>().join("+") }
                }));
            }
            Access::Public(reason) => row.push(format!("public: {reason}")),
        }
        rows.push(row);
    }
    rows.sort_by(|a, b| (&a[1], &a[0]).cmp(&(&b[1], &b[0])));
    rows.insert(0, head);
    let width = |column: usize| {
        // A public route's reason may be as long as it likes: nothing stands behind it.
        rows.iter().filter(|r| r.len() > 3).filter_map(|r| r.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..roles.len() + 3).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
