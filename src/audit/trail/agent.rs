//! What a client calls itself.

use std::sync::{Arc, OnceLock};

use http::HeaderValue;

use crate::audit::record::MAX_TEXT;

/// A request's `user-agent`. Most requests open no door, so its text is made when a record asks for it.
#[derive(Debug, Clone)]
pub(super) struct Agent(HeaderValue, OnceLock<Arc<str>>);

/// What stands at the end of one that was cut.
const CUT: &str = "...";

impl Agent {
    /// `None` for an empty one.
    pub(super) fn new(value: &HeaderValue) -> Option<Self> {
        (!value.is_empty()).then(|| Self(value.clone(), OnceLock::new()))
    }

    pub(super) fn text(&self) -> Arc<str> {
        Arc::clone(self.1.get_or_init(|| clean(self.0.as_bytes()).into()))
    }
}

/// At most 256 letters of visible ASCII and spaces: what else there was is a `?`, byte by byte, and what was longer ends
/// with three dots. So nothing that a client sends turns a line of the ledger around or ends it.
fn clean(bytes: &[u8]) -> String {
    let (kept, cut) = if bytes.len() > MAX_TEXT { (&bytes[..MAX_TEXT - CUT.len()], CUT) } else { (bytes, "") };
    let letters = kept.iter().map(|&b| if matches!(b, b' '..=b'~') { char::from(b) } else { '?' });
    letters.chain(cut.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_calls_itself_is_bounded_and_plain() {
        let long = "x".repeat(MAX_TEXT);
        let rows: [(&str, &[u8], &str); 8] = [
            ("a browser's", b"Mozilla/5.0 (X11; Linux)", "Mozilla/5.0 (X11; Linux)"),
            ("a tab", b"a\tb", "a?b"),
            ("right-to-left override", "a\u{202e}b".as_bytes(), "a???b"),
            ("an escape of a terminal", b"\x9b31m", "?31m"),
            ("not UTF-8", &[b'a', 0xff, b'b'], "a?b"),
            ("quotes and a backslash", br#"a"\b"#, r#"a"\b"#),
            ("as long as there is room", long.as_bytes(), &long),
            ("another script", "é".as_bytes(), "??"),
        ];
        for (name, bytes, expected) in rows {
            let agent = Agent::new(&HeaderValue::from_bytes(bytes).unwrap()).unwrap();
            assert_eq!(&*agent.text(), expected, "{name}");
        }
        let longer = Agent::new(&HeaderValue::from_str(&format!("{long}y")).unwrap()).unwrap().text();
        assert_eq!((longer.len(), longer.strip_suffix("...").map(str::len)), (MAX_TEXT, Some(MAX_TEXT - 3)));
        assert!(Agent::new(&HeaderValue::from_static("")).is_none());
    }
}
