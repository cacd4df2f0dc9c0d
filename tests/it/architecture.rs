//! The import floors: a module imports only from floors below it, and what shares a floor never imports one another.
//!
//! The source is read as tokens, so comments, strings and doc examples do not count, while nested groups, `super`
//! chains that leave their module, paths inside expressions and macro bodies do. Test code may import what it likes.
//! `src/lib.rs` (the front page) and `src/bin` (a user of the crate) stand above all floors.

mod reader;
pub(crate) mod secrets;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    str::FromStr,
};

use proc_macro2::{TokenStream, TokenTree};

use reader::{Edge, Source, attribute, edges, end_of_item, is_test_only, is_word};

/// The floors, lowest first. A name with `::` is a part of a module that stands on another floor than the rest of it.
const FLOORS: &[&[&str]] = &[
    &["clock", "codec", "entropy", "secret", "trace"],
    &["id"],
    &["store"],
    &["audit", "keys", "quota"],
    &["identity"],
    &["tenant"],
    &["access"],
    &["field"],
    &["db"],
    &["privacy"],
    &["problem"],
    // The layers.
    &["headers", "rate_limit"],
    // The assembly.
    &["stack"],
    &["axum"],
    // What stands on all of it.
    &["testing"],
];

#[test]
fn every_import_comes_from_a_lower_floor() {
    let sources = sources();
    let macros = exported_macros(&sources);
    let wrong: Vec<_> = sources.iter().flat_map(|source| violations(source, &macros)).collect();
    assert!(wrong.is_empty(), "imports against the floors (see CONTRIBUTING.md):\n{}", wrong.join("\n"));

    // Were the reader blind, the above would hold of any tree.
    let seen = |from: &str, to: &str| {
        let of = sources.iter().filter(|s| s.module[0] == from);
        of.flat_map(|s| edges(s).0).any(|edge| edge.to[0] == to)
    };
    assert!(
        seen("id", "clock") && seen("access", "keys") && seen("stack", "db"),
        "the reader no longer sees edges that are there"
    );
}

#[test]
fn every_module_has_a_floor_and_every_floor_its_modules() {
    let lib = fs::read_to_string(root().join("lib.rs")).expect("src/lib.rs is readable");
    let declared = modules(TokenStream::from_str(&lib).expect("src/lib.rs is Rust"));
    let known: BTreeSet<String> = FLOORS.iter().copied().flatten().map(ToString::to_string).collect();

    let (parts, whole): (BTreeSet<_>, BTreeSet<_>) = known.into_iter().partition(|name| name.contains("::"));
    assert_eq!(declared, whole, "left: declared in src/lib.rs; right: in the table of floors");
    for part in parts {
        let path = root().join(part.replace("::", "/"));
        assert!(path.with_extension("rs").exists() || path.join("mod.rs").exists(), "no module `{part}`");
    }
}

#[test]
fn planted_upward_imports_are_caught() {
    let macros = macros();
    for (name, file, code) in [
        ("a plain import", "store/mod.rs", "use crate::stack::Ward;"),
        ("an import under a feature", "store/mod.rs", "#[cfg(feature = \"stack\")] use crate::stack::Ward;"),
        ("one name in a group", "store/mod.rs", "use crate::{id::{RowId, SubjectId}, access::Grant};"),
        ("an import inside a function", "store/mod.rs", "fn f() { use crate::access::Grant; }"),
        ("a path in an expression", "store/mod.rs", "fn f() { let _ = crate::axum::Router::new(); }"),
        ("a path in a type", "store/mod.rs", "struct S { g: Vec<crate::access::Grant<()>> }"),
        ("a path with a turbofish", "store/mod.rs", "fn f() { crate::access::<u8>::f() }"),
        ("a call of a macro", "store/mod.rs", "crate::access::make! {}"),
        ("the body of a macro", "store/mod.rs", "macro_rules! m { () => { $crate::access::Grant } }"),
        ("an exported macro by the root's name", "store/mod.rs", "crate::permissions! {}"),
        ("`super` out of a folder", "store/mod.rs", "use super::stack::Ward;"),
        ("`super` twice", "store/sqlite.rs", "use super::super::stack::Ward;"),
        ("`super` in an inner module", "store/mod.rs", "mod inner { use super::super::stack::Ward; }"),
        ("`self` and `super` in a group", "store/sqlite.rs", "use self::{super::{Entry, super::stack::Ward}};"),
        ("a re-export", "store/mod.rs", "pub use crate::stack::Ward;"),
        ("everything in the root", "store/mod.rs", "use crate::*;"),
        ("the root under another name", "store/mod.rs", "use crate::{self as ward};"),
        ("a name that only the front page exports", "store/mod.rs", "use crate::Problem;"),
        ("the crate by its own name", "store/mod.rs", "extern crate self as tower_ward;"),
        ("a path in serde's text", "id.rs", "struct S { #[serde(with = \"crate::store::text\")] x: u8 }"),
        ("code that is not only for tests", "store/mod.rs", "#[cfg(not(test))] use crate::access::Grant;"),
        ("what follows a test module", "store/mod.rs", "#[cfg(test)] mod tests { } use crate::access::Grant;"),
        ("what follows a field for tests", "store/mod.rs", "struct S { #[cfg(test)] a: u8, b: crate::access::Grant }"),
        ("test code outside `cfg(test)`", "store/mod.rs", "mod tests;"),
        ("a layer in a layer", "headers/mod.rs", "use crate::rate_limit::RateLimitLayer;"),
        ("the database in what it seals with", "field/mod.rs", "use crate::db::TenantTx;"),
        ("a problem in the database", "db/tx.rs", "impl From<TxError> for crate::problem::Problem {}"),
        ("a neighbour on the same floor", "keys/mod.rs", "use crate::audit::Trail;"),
        ("a module that has no floor", "attic.rs", ""),
    ] {
        let found = violations(&source(file, code), &macros);
        assert_eq!(found.len(), 1, "{name}: `{code}` in {file} gave {found:?}");
    }
}

#[test]
fn files_that_hold_only_tests_are_left_out() {
    let code =
        "mod real; #[cfg(test)] mod conformance; #[cfg(test)] #[expect(dead_code)] pub(crate) mod tests; mod more;";
    let named = |path: &str| path.split("::").map(ToOwned::to_owned).collect::<Vec<_>>();
    assert_eq!(test_modules(&source("store/mod.rs", code)), [named("store::conformance"), named("store::tests")]);
}

#[test]
fn lawful_imports_pass() {
    let macros = macros();
    for (name, file, code) in [
        ("a lower floor", "access/grant.rs", "use crate::{id::{RowId, SubjectId}, keys::SubjectKey};"),
        (
            "its own module",
            "access/grant.rs",
            "use super::Permission; use crate::access::Opens; pub(in crate::access) fn f() {}",
        ),
        ("its own inner module", "store/mod.rs", "mod inner { use super::Entry; }"),
        ("another crate of a module's name", "problem/mod.rs", "use axum::response::Response; use ::http::header;"),
        (
            "a comment",
            "store/mod.rs",
            "// use crate::stack::Ward;\n/* crate::stack */ /// [`crate::stack::Ward`]\nfn f() {}",
        ),
        ("a text", "store/mod.rs", "const S: &str = \"crate::stack::Ward\"; const R: &str = r#\"crate::axum\"#;"),
        ("visibility", "store/mod.rs", "pub(crate) struct S; pub(super) fn f() {}"),
        ("a test module", "store/mod.rs", "#[cfg(test)]\n#[expect(dead_code)]\nmod tests { use crate::stack::Ward; }"),
        ("a test module in a file", "store/mod.rs", "#[cfg(test)]\nmod tests;"),
        ("a test import", "store/mod.rs", "#[cfg(test)] use crate::{access::Grant, stack::Ward};"),
        ("test and feature", "store/mod.rs", "#[cfg(all(test, feature = \"stack\"))] use crate::stack::Ward;"),
        ("a macro of a lower floor by the root's name", "field/mod.rs", "crate::permissions! {}"),
    ] {
        let found = violations(&source(file, code), &macros);
        assert!(found.is_empty(), "{name}: `{code}` in {file} gave {found:?}");
    }
}

/// What is wrong with the imports of one file, a line each.
fn violations(source: &Source, macros: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let Some((from, here)) = floor(&source.module) else {
        return vec![format!("{}: the module has no floor: add it to `FLOORS`", source.file)];
    };
    let (edges, mut wrong) = edges(source);
    wrong.extend(edges.iter().filter_map(|Edge { line, to }| {
        let at = format!("{}:{line}: `{from}` names `crate::{}`", source.file, to.join("::"));
        let home = to.first().and_then(|name| macros.get(name)).unwrap_or(to);
        match floor(home) {
            None => Some(format!("{at}, which is no module of the crate: name it by its home")),
            Some((name, _)) if name == from => None,
            Some((name, there)) if there == here => Some(format!("{at}, but `{name}` stands on the same floor")),
            Some((name, there)) if there > here => Some(format!("{at}, but `{name}` stands on a higher floor")),
            Some(_) => None,
        }
    }));
    wrong
}

/// The entry of [`FLOORS`] that a path belongs to, and its height. The longest entry wins.
fn floor(path: &[String]) -> Option<(&'static str, usize)> {
    let named = FLOORS.iter().enumerate().flat_map(|(height, names)| names.iter().map(move |name| (*name, height)));
    named
        .filter(|(name, _)| name.split("::").enumerate().all(|(i, part)| path.get(i).is_some_and(|p| p == part)))
        .max_by_key(|(name, _)| name.len())
}

/// The modules that a file declares, those for tests apart.
fn modules(tokens: TokenStream) -> BTreeSet<String> {
    let trees: Vec<_> = tokens.into_iter().collect();
    let mut found = BTreeSet::new();
    let mut i = 0;
    while i < trees.len() {
        if attribute(&trees, i).is_some_and(is_test_only) {
            i = end_of_item(&trees, i);
            continue;
        }
        if let (true, Some(TokenTree::Ident(name))) = (is_word(trees.get(i), "mod"), trees.get(i + 1)) {
            found.insert(name.to_string());
        }
        i += 1;
    }
    found
}

/// `#[macro_export]` puts a macro at the crate's root; its home is the module that it is written in.
fn exported_macros(sources: &[Source]) -> BTreeMap<String, Vec<String>> {
    let mut homes = BTreeMap::new();
    for source in sources {
        let trees: Vec<_> = source.tokens.clone().into_iter().collect();
        for (i, tree) in trees.iter().enumerate() {
            let TokenTree::Group(group) = tree else { continue };
            if group.to_string() != "[macro_export]" && group.to_string() != "[macro_export ]" {
                continue;
            }
            let rest = &trees[i..];
            let name = rest.iter().position(|tree| is_word(Some(tree), "macro_rules")).and_then(|at| rest.get(at + 2));
            if let Some(TokenTree::Ident(name)) = name {
                homes.insert(name.to_string(), source.module.clone());
            }
        }
    }
    homes
}

fn macros() -> BTreeMap<String, Vec<String>> {
    let homes = exported_macros(&sources());
    assert_eq!(homes.get("permissions").map(|home| home[0].as_str()), Some("access"), "{homes:?}");
    homes
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// A file as if it stood at `file` under `src`.
fn source(file: &str, code: &str) -> Source {
    let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(ToOwned::to_owned).collect();
    module.pop_if(|last| last == "mod");
    let tokens = TokenStream::from_str(code).unwrap_or_else(|error| panic!("src/{file} is not Rust: {error}"));
    Source { file: format!("src/{file}"), module, tokens }
}

/// Every file of the library, but the front page, the programs and the tests.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            let name = path.strip_prefix(root()).expect("the walk began at src").to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "bin" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && name != "lib.rs" {
                found.push(source(&name, &fs::read_to_string(&path).expect("the file is UTF-8")));
            }
        }
    }
    let tests: Vec<_> = found.iter().flat_map(test_modules).collect();
    found.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

/// The modules of their own file that a file declares for tests alone.
fn test_modules(source: &Source) -> Vec<Vec<String>> {
    let trees: Vec<_> = source.tokens.clone().into_iter().collect();
    let starts = (0..trees.len()).filter(|&i| attribute(&trees, i).is_some_and(is_test_only));
    starts
        .filter_map(|i| match trees[..end_of_item(&trees, i)].last_chunk() {
            Some([TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Punct(_)]) if word == "mod" => {
                Some([&source.module[..], &[name.to_string()]].concat())
            }
            _ => None,
        })
        .collect()
}
