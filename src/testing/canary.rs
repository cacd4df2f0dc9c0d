//! Texts that must not be found.

use std::{
    collections::{BTreeSet, HashMap},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64, HEXLOWER};

/// Bytes by which a text is first looked for.
const START: usize = 6;
/// From this length on, case does not matter: chance is out of the question all the same.
const FOLDED: usize = 8;

/// Texts, or secrets of any bytes, that must not be found anywhere, looked for all at once, in every spelling in which one could be written down: as it
/// is, in a JSON string, percent-encoded, in hex, in base64, and as a list of byte values. From 8 bytes on, case does not matter.
///
/// In base64, whatever stands around it, from 10 bytes on; of shorter texts no piece is long enough to say anything.
///
/// A text of digits alone is not found as it is in the middle of a longer number: a ledger is full of hashes and times, which hold
/// any eight digits by chance.
pub struct Canaries {
    /// By the first bytes, in lower case.
    by_start: HashMap<[u8; START], Vec<Spelling>>,
    /// Whether any begins with these two bytes.
    begins: Vec<bool>,
    texts: usize,
}

struct Spelling {
    bytes: Vec<u8>,
    /// What is said of it: itself, or its hex where it is no text.
    said: String,
    /// Whether case does not matter.
    folded: bool,
    /// Whether it is a number, which may be a piece of a longer one.
    number: bool,
}

impl fmt::Debug for Canaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canaries").field("texts", &self.texts).finish_non_exhaustive()
    }
}

/// A text that cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the canary at place {at} has {bytes} bytes: random bytes hold it by chance; take one of {} or more",
    Canaries::LEAST
)]
pub struct CanaryError {
    /// Which one, from 0.
    pub at: usize,
    /// Its length.
    pub bytes: usize,
}

impl Canaries {
    /// The shortest text, in bytes.
    pub const LEAST: usize = START;

    /// To look for these.
    ///
    /// # Errors
    ///
    /// If one is shorter than [`LEAST`](Self::LEAST).
    pub fn new<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Result<Self, CanaryError> {
        let texts: Vec<T> = texts.into_iter().collect();
        if let Some((at, text)) = texts.iter().enumerate().find(|(_, text)| text.as_ref().len() < Self::LEAST) {
            return Err(CanaryError { at, bytes: text.as_ref().len() });
        }
        let mut by_start: HashMap<_, Vec<_>> = HashMap::new();
        let mut begins = vec![false; 1 << 16];
        let plain: BTreeSet<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
        let spelled: BTreeSet<Vec<u8>> = plain.iter().flat_map(|text| spellings(text)).collect();
        for bytes in spelled {
            let number = plain.contains(bytes.as_slice()) && bytes.iter().all(u8::is_ascii_digit);
            let folded = bytes.len() >= FOLDED;
            let bytes = if folded { bytes.to_ascii_lowercase() } else { bytes };
            let said = String::from_utf8(bytes.clone()).unwrap_or_else(|_| HEXLOWER.encode(&bytes));
            // A piece of base64 of so short a text says nothing.
            let Some(start) = bytes.first_chunk::<START>() else { continue };
            let start = start.map(|byte| byte.to_ascii_lowercase());
            begins[pair(start[0], start[1])] = true;
            by_start.entry(start).or_default().push(Spelling { bytes, said, folded, number });
        }
        Ok(Self { by_start, begins, texts: texts.len() })
    }

    /// How many texts are looked for.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.texts
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.texts == 0
    }

    /// The first that stands in these bytes, as it is spelled there, in lower case.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        // Most of a ledger's file is empty.
        let bytes = &bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)];
        let lower = bytes.to_ascii_lowercase();
        for (at, window) in lower.windows(START).enumerate() {
            if !self.begins[pair(window[0], window[1])] {
                continue;
            }
            for Spelling { bytes: spelled, said, folded, number } in self.by_start.get(window).into_iter().flatten() {
                let hay = if *folded { &lower } else { bytes };
                if hay[at..].starts_with(spelled) && !(*number && is_part_of_more(&lower, at, spelled.len())) {
                    return Some(said);
                }
            }
        }
        None
    }

    /// The first file below a folder that holds one, and which. A file that goes away meanwhile is passed over.
    ///
    /// # Errors
    ///
    /// If a folder or a file cannot be read.
    pub fn found_below(&self, folder: &Path) -> io::Result<Option<(PathBuf, &str)>> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let found = if entry.file_type()?.is_dir() {
                self.found_below(&path)?
            } else {
                match fs::read(&path) {
                    Ok(bytes) => self.found_in(&bytes).map(|text| (path, text)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// Whether a number is a piece of a longer one: of a hash, a time, an identifier. What stands after an encoded space is not.
fn is_part_of_more(lower: &[u8], at: usize, length: usize) -> bool {
    let encoded = at >= 3 && lower[at - 3] == b'%';
    let beside = [at.checked_sub(1).filter(|_| !encoded), Some(at + length)];
    beside.into_iter().flatten().any(|at| lower.get(at).is_some_and(u8::is_ascii_hexdigit))
}

/// A text in every spelling in which it could be written down.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let percent = |byte: &u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let values: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut all =
        vec![bytes.iter().map(percent).collect(), HEXLOWER.encode(bytes), values.join(", "), values.join(",")];
    if let Ok(text) = std::str::from_utf8(bytes) {
        let quoted = serde_json::Value::from(text).to_string();
        all.extend([quoted[1..quoted.len() - 1].to_owned(), text.replace(' ', "+")]);
    }
    // In base64 at each of the three places where it may begin; the ends depend on what stands around it.
    for before in 0..3 {
        let encoded = BASE64.encode(&[&b"\0\0"[..before], bytes].concat());
        let piece = encoded[4..encoded.len() - 4].to_owned();
        if piece.contains(['+', '/']) {
            all.push(piece.replace('+', "-").replace('/', "_"));
        }
        all.push(piece);
    }
    all.into_iter().map(String::into_bytes).chain([bytes.to_vec()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Quill feather, Dr 9c41 ~\"ö\"~ >>>???";

    #[test]
    fn every_spelling_is_found_wherever_it_stands() {
        for text in [TEXT, "999 000 0123", "9990000123"] {
            let canaries = Canaries::new([text]).unwrap();
            for spelling in spellings(text.as_bytes()).into_iter().filter(|spelling| spelling.len() >= START) {
                let hay = [b"some bytes ", spelling.as_slice(), b"\0 and more"].concat();
                assert!(canaries.found_in(&hay).is_some(), "{}", String::from_utf8_lossy(&spelling));
            }
            around(text, &canaries);
        }
        let canaries = Canaries::new([TEXT]).unwrap();
        assert_eq!(canaries.found_in(b"Quill feather, Dr 9c42"), None);
    }

    #[test]
    fn a_key_is_found_in_bytes_and_in_every_writing_of_them() {
        let key: Vec<u8> = (0..32_u8).map(|n| n.wrapping_mul(37) ^ 0xa5).collect();
        let canaries = Canaries::new([&key]).unwrap();
        assert_eq!(
            canaries.found_in(&[b"raw ", key.as_slice(), b" key"].concat()),
            Some(&*HEXLOWER.encode(&key.to_ascii_lowercase()))
        );
        let writings = [format!("{key:?}"), BASE64.encode(&key), HEXLOWER.encode(&key).to_uppercase()];
        for text in writings {
            assert!(canaries.found_in(text.as_bytes()).is_some(), "{text}");
        }
        assert_eq!(canaries.found_in(&key[1..]), None);
    }

    fn around(text: &str, canaries: &Canaries) {
        for before in ["", ":", ":k", ":k "] {
            let hay = format!("{before}{text} after");
            let encoded = BASE64.encode(hay.as_bytes());
            assert!(canaries.found_in(encoded.as_bytes()).is_some(), "{before}");
            let encoded = data_encoding::BASE64URL_NOPAD.encode(hay.as_bytes());
            assert!(canaries.found_in(encoded.as_bytes()).is_some(), "{before}");
            assert!(canaries.found_in(HEXLOWER.encode(hay.as_bytes()).as_bytes()).is_some());
            assert!(canaries.found_in(format!("{:?}", hay.as_bytes()).as_bytes()).is_some());
            assert!(canaries.found_in(serde_json::to_string(hay.as_bytes()).unwrap().as_bytes()).is_some());
            let percent = hay.replace(' ', "%20");
            assert!(text == TEXT || canaries.found_in(percent.as_bytes()).is_some(), "{percent}");
            assert!(canaries.found_in(serde_json::Value::from(hay).to_string().as_bytes()).is_some());
        }
    }

    #[test]
    fn a_number_within_a_longer_one_is_none() {
        let canaries = Canaries::new(["00012345", "Ab3cdef"]).unwrap();
        assert!(canaries.found_in(b"account 00012345.").is_some());
        assert_eq!(canaries.found_in(b"0000123456"), None);
        assert_eq!(canaries.found_in(b"e00012345"), None);
        // Below eight bytes, case counts.
        assert!(canaries.found_in(b"Ab3cdef").is_some() && canaries.found_in(b"AB3CDEF").is_none());
    }

    #[test]
    fn files_are_looked_through_to_the_last() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/file"), [0; 100]).unwrap();
        let canaries = Canaries::new([TEXT]).unwrap();
        assert_eq!(canaries.found_below(folder.path()).unwrap(), None);
        fs::write(folder.path().join("deep/file"), [&[0; 100][..], TEXT.as_bytes(), &[0; 100]].concat()).unwrap();
        let (path, _) = canaries.found_below(folder.path()).unwrap().unwrap();
        assert!(path.ends_with("deep/file"));
        assert!(canaries.found_below(&folder.path().join("nowhere")).is_err());
        assert!(!format!("{canaries:?}").contains("Quill"));
    }
}
