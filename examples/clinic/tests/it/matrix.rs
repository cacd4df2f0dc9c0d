//! The matrix of routes and roles against its golden file.

use std::path::Path;

use tower_ward::testing::golden as golden_file;

use crate::harness::*;

const GOLDEN: &str = include_str!("../golden/matrix.txt");

/// One route of the golden file.
pub(crate) struct Row {
    pub(crate) methods: Vec<http::Method>,
    pub(crate) path: String,
    pub(crate) permission: String,
    /// From role to `-` or the relations; empty for a public route.
    pub(crate) cells: Vec<(String, String)>,
}

/// The golden file, read: what the wire is held against.
pub(crate) fn golden() -> Vec<Row> {
    let mut lines = GOLDEN.lines();
    let roles: Vec<&str> = lines.next().unwrap().split_whitespace().skip(3).collect();
    let rows = lines.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let public = words[2] == "public:";
        let cells = roles.iter().zip(&words[3..]).map(|(role, cell)| ((*role).to_owned(), (*cell).to_owned()));
        assert!(public || words.len() == 3 + roles.len(), "{line}");
        Row {
            methods: words[0].split('+').map(|m| m.parse().unwrap()).collect(),
            path: words[1].to_owned(),
            permission: words[2].to_owned(),
            cells: if public { Vec::new() } else { cells.collect() },
        }
    });
    rows.collect()
}

// proves GLM-16
#[tokio::test]
async fn the_matrix_of_routes_and_roles_is_the_golden_one() {
    let site = Site::start().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/matrix.txt");
    golden_file(&path, &site.router().matrix()).unwrap_or_else(|error| panic!("who may do what has changed: {error}"));
}
