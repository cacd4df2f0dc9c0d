//! The tables in `docs/performance.md`.

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");

/// Puts lines of one group in the place of those that the table of all has, and says what they were measured on.
pub(crate) fn put_group(mark: &str, group: &str, lines: &str, machine: &str) {
    let document = std::fs::read_to_string(DOCUMENT).expect("the document");
    let begin = format!("<!-- {mark} -->\n");
    let (_, rest) = document.split_once(&begin).expect("the mark");
    let (table, _) = rest.split_once("<!-- end -->").expect("its end");
    let is_of_group = |line: &str| line.starts_with(&format!("| {group} |"));
    // A new group comes last.
    let lines_there = table.trim().lines().count();
    let first = table.trim().lines().position(is_of_group).unwrap_or(lines_there);
    let elsewhere = format!("`{group}`: ");
    let mut text = String::new();
    for (at, line) in table.trim().lines().enumerate() {
        if at == first {
            text.push_str(lines);
        }
        if !is_of_group(line) && !line.starts_with(&elsewhere) {
            text.push_str(line);
            text.push('\n');
        }
        if at == 0 && line != machine {
            text.push_str(&format!("{elsewhere}{machine}\n"));
        }
    }
    if first == lines_there {
        text.push_str(lines);
    }
    put(&[(mark, &text)]);
}

/// Puts each text between its mark and the next end.
pub(crate) fn put(parts: &[(&str, &str)]) {
    let mut document = std::fs::read_to_string(DOCUMENT).expect("the document");
    for (mark, text) in parts {
        let begin = format!("<!-- {mark} -->\n");
        let start = document.find(&begin).expect("the mark") + begin.len();
        let end = start + document[start..].find("<!-- end -->").expect("its end");
        document.replace_range(start..end, &format!("\n{text}\n"));
    }
    std::fs::write(DOCUMENT, document).expect("written");
}
