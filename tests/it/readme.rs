//! The README shows code that compiles: the front page's own example, which the doc tests build.

use std::{fs, path::Path};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a file of the crate")
}

/// The first fenced block after `fence`, without the lines that rustdoc hides.
fn block(text: &str, fence: &str) -> String {
    let visible = |line: &&str| !line.starts_with("# ") && *line != "#";
    let lines = text.lines().skip_while(|line| *line != fence).skip(1).take_while(|line| *line != "```");
    lines.filter(visible).collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[test]
fn the_readme_shows_what_the_front_page_compiles() {
    let page: String = file("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    let shown = block(&file("README.md"), "```rust");
    assert!(shown.contains("grant.subject(patient).await?"), "the README shows a door");
    assert_eq!(shown, block(&page, "```"));
}

#[test]
fn the_readme_links_to_files_that_are_there() {
    let readme = file("README.md");
    let mut links = 0;
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "`{link}` is linked and not there");
        links += 1;
    }
    assert!(links >= 6, "the README links to the documents");
}
