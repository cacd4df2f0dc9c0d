//! The tables in `docs/performance.md`.

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");

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
