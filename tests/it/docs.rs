//! What the documentation promises of itself: every module has its example, its refusal and its word on security, every
//! public type is in an example, and what stands in `docs/` is what compiles.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fenced blocks of a text with this word after the fence.
fn blocks<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let open = format!("```{word}\n");
    // The first part stands before any fence; a block ends at the fence that follows.
    text.split(&open).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn the_howto_is_the_example_block_by_block() {
    let howto = file("docs/howto.md");
    let example = file("examples/first_steps.rs");
    let code = example.trim_start().split_once("\n\n").expect("a head comment, and code").1;
    // The reader's project has its migrations beside its `src`.
    let code = code.replace("examples/first_steps/migrations", "migrations");
    let rust = blocks(&howto, "rust");
    assert!(rust.len() > 8, "the howto shows the program in steps");
    assert_eq!(rust.join("\n\n"), code.trim_end());
    assert_eq!(blocks(&howto, "sql"), [file("examples/first_steps/migrations/0001_notes.sql").trim_end()]);
}

#[test]
fn what_the_howto_quotes_of_the_compiler_is_what_it_says() {
    let mut said = String::new();
    each_file(&root().join("tests/ui"), "stderr", &mut |_, text| said.push_str(text));
    let howto = file("docs/howto.md");
    let quotes = blocks(&howto, "text");
    assert!(quotes.len() >= 4, "the howto quotes the compiler");
    for quote in quotes.iter().flat_map(|quote| quote.lines()) {
        assert!(said.contains(quote), "no program of tests/ui gives `{quote}`");
    }
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut links = 0;
    let mut texts = vec![(root().to_owned(), file("README.md")), (root().to_owned(), file("SECURITY.md"))];
    each_file(&root().join("docs"), "md", &mut |_, text| texts.push((root().join("docs"), text.to_owned())));
    for (from, text) in texts {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|t| t.ends_with(".md") || t.ends_with(".rs") || t.starts_with("examples")) {
            assert!(from.join(target).exists(), "`{target}` is linked from {} and not there", from.display());
            links += 1;
        }
    }
    assert!(links > 12, "the documents link to one another: {links}");
}

#[test]
fn every_example_says_what_it_shows_and_how_to_run_it() {
    let manifest = file("Cargo.toml");
    let mut count = 0;
    for entry in fs::read_dir(root().join("examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".rs")) else {
            continue;
        };
        let text = file(&format!("examples/{name}.rs"));
        let (_, rest) =
            manifest.split_once(&format!("[[example]]\nname = \"{name}\"\n")).expect("a table in Cargo.toml");
        let features = rest.strip_prefix("required-features = [").and_then(|r| r.split(']').next()).expect("features");
        let features = features.replace(['"', ' '], "").replace("headers,", "");
        let command = match features.as_str() {
            "headers" => format!("`cargo run --example {name}`"),
            features => format!("`cargo run --example {name} --features {features}`"),
        };
        assert!(text.starts_with("//! ") && text.contains(&command), "{name}: its head says {command}");
        assert!(text.contains("assert") && text.contains("main()"), "{name} asserts what it shows");
        count += 1;
    }
    assert_eq!(count, manifest.matches("[[example]]").count());
}

/// What an example writes where something is refused: by the compiler, or as a value.
const REFUSALS: &[&str] = &[
    "compile_fail",
    "is_err()",
    "unwrap_err()",
    "Err(",
    "assert!(!",
    "assert_ne!",
    "TOO_MANY_REQUESTS",
    "forbidden()",
    "not_found()",
];
/// What it writes where something is not.
const PASSES: &[&str] = &["assert_eq!(", "assert!(", "?;", "Ok("];

#[test]
fn every_public_module_has_an_example_a_refusal_and_a_word_on_security() {
    let modules = modules();
    assert!(modules.len() > 12, "the modules of src/lib.rs were not found");
    for (name, path) in modules {
        let docs = docs_of(&path).join("\n");
        let docs = docs.split('\0').next().unwrap_or_default();
        let examples = examples_in(docs);
        assert!(!examples.is_empty(), "`{name}` has no example");
        let code = examples.join("\n");
        assert!(REFUSALS.iter().any(|word| code.contains(word)), "no example of `{name}` shows a refusal");
        assert!(PASSES.iter().any(|word| code.contains(word)), "no example of `{name}` shows what passes");
        assert!(docs.contains("# Security\n"), "`{name}` says nothing of security");
    }
}

#[test]
fn every_public_name_is_in_an_example() {
    let words: BTreeSet<String> = all_examples().iter().flat_map(|example| words(example)).collect();
    let (mut missing, mut total) = (Vec::new(), 0);
    for (module, path) in modules() {
        for name in exported(&file(path.to_str().expect("text"))) {
            total += 1;
            if !words.contains(&name) {
                missing.push(format!("{module} {name}"));
            }
        }
    }
    assert!(total > 150, "the exports were not found: {total}");
    assert!(missing.is_empty(), "in no example, of {total}: {missing:#?}");
}

/// The public modules of the front page, each with the file that begins it.
fn modules() -> Vec<(String, PathBuf)> {
    let lib = file("src/lib.rs");
    let names = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names
        .map(|name| {
            let folder = format!("src/{name}/mod.rs");
            let path = if root().join(&folder).exists() { folder } else { format!("src/{name}.rs") };
            (name.to_owned(), path.into())
        })
        .collect()
}

/// The lines of a file's documentation, those of included documents among them; `\0` where other code stands.
fn docs_of(path: &Path) -> Vec<String> {
    let text = file(path.to_str().expect("text"));
    let folder = path.parent().expect("a folder");
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        let doc = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"));
        let included = line.split_once("include_str!(\"").and_then(|(_, rest)| rest.split('"').next());
        if let Some(doc) = doc {
            lines.push(doc.strip_prefix(' ').unwrap_or(doc).to_owned());
        } else if let Some(document) = included.filter(|name| name.ends_with(".md")) {
            lines.extend(file(folder.join(document).to_str().expect("text")).lines().map(ToOwned::to_owned));
        } else {
            lines.push("\0".to_owned());
        }
    }
    lines
}

/// The code of the examples in documentation, each after the words of its fence.
fn examples_in(docs: &str) -> Vec<String> {
    let (mut examples, mut inside): (Vec<String>, Option<Option<String>>) = (Vec::new(), None);
    for line in docs.lines() {
        match (line.strip_prefix("```"), &mut inside) {
            (Some(language), None) => {
                let prose = ["text", "sql", "sh", "toml", "json"].contains(&language);
                inside = Some((!prose).then(|| format!("{language}\n")));
            }
            (Some(_), Some(_)) => examples.extend(inside.take().flatten()),
            (None, Some(Some(example))) => {
                example.push_str(line);
                example.push('\n');
            }
            (None, _) if line == "\0" => inside = None,
            (None, _) => {}
        }
    }
    examples
}

fn all_examples() -> Vec<String> {
    let mut examples = Vec::new();
    each_file(&root().join("src"), "rs", &mut |path, _| {
        let path = path.strip_prefix(root()).expect("below the root");
        examples.extend(examples_in(&docs_of(path).join("\n")));
    });
    examples
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// What a module's first file exports, hidden things aside.
fn exported(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    for (before, rest) in code.match_indices("pub use ").map(|(at, _)| (&code[..at], &code[at..])) {
        let statement = rest.split(';').next().unwrap_or_default().trim_start_matches("pub use ");
        // Only at the start of a line: not `pub(crate) use`.
        if !before.ends_with('\n') || before.trim_end().ends_with("#[doc(hidden)]") {
            continue;
        }
        let list = statement.split_once('{').map_or(statement, |(_, list)| list);
        for item in list.split([',', '{', '}']) {
            let item = item.split(" as ").last().unwrap_or_default();
            let name = item.rsplit("::").next().unwrap_or_default().trim();
            names.extend((!name.is_empty() && name != "self").then(|| name.to_owned()));
        }
    }
    for line in code.lines() {
        let item = ["struct ", "enum ", "trait ", "type ", "const ", "fn ", "async fn "]
            .iter()
            .find_map(|kind| line.strip_prefix("pub ")?.strip_prefix(kind));
        let name = item.and_then(|item| words(item).into_iter().find(|word| word != "fn"));
        names.extend(name.filter(|name| !name.starts_with("fuzz_")));
    }
    names
}

fn each_file(folder: &Path, extension: &str, visit: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            each_file(&path, extension, visit);
        } else if path.extension().is_some_and(|e| e == extension) {
            visit(&path, &fs::read_to_string(&path).expect("text"));
        }
    }
}
