//! The text: three lines, a blank one, and the signatures.

use std::fmt::{self, Write as _};

use data_encoding::BASE64;

use super::{CheckpointError, Head, VerifierKey, decimal, tree, unhash};

/// The longest checkpoint that is looked at, in bytes: 16 of the longest signatures that there are, twice.
///
/// ```
/// use tower_ward::audit::{CheckpointError, CheckpointSigner, CheckpointVerifier, MAX_CHECKPOINT};
///
/// let verifier = CheckpointVerifier::new(CheckpointSigner::generate("clinic.example/ledger")?.verifier_key().clone())?;
/// assert_eq!(verifier.verify("x".repeat(MAX_CHECKPOINT + 1)), Err(CheckpointError::TooLong));
/// # Ok::<(), tower_ward::audit::CheckpointKeyError>(())
/// ```
pub const MAX_CHECKPOINT: usize = 256 * 1024;
/// The most signatures that are looked at.
const MAX_SIGNATURES: usize = 64;
/// What a signature's line begins with: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// A note that may be signed by anybody.
#[derive(Debug)]
pub(super) struct Note<'a> {
    /// What is signed, its last newline included.
    pub(super) text: &'a str,
    pub(super) signatures: Vec<Line<'a>>,
}

/// One line of the signatures.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) id: [u8; 4],
    pub(super) signature: Vec<u8>,
}

impl<'a> Note<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, CheckpointError> {
        if bytes.len() > MAX_CHECKPOINT {
            return Err(CheckpointError::TooLong);
        }
        let note = str::from_utf8(bytes).map_err(|_| CheckpointError::NotText)?;
        if note.contains(|c: char| c.is_control() && c != '\n') {
            return Err(CheckpointError::NotText);
        }
        let blank = note.rfind("\n\n").ok_or(CheckpointError::Signatures)?;
        let (text, rest) = (&note[..=blank], &note[blank + 2..]);
        let lines = rest.strip_suffix('\n').ok_or(CheckpointError::Signatures)?;
        let mut signatures: Vec<Line<'a>> = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err(CheckpointError::TooManySignatures);
            }
            let line = Line::parse(line).ok_or(CheckpointError::SignatureLine)?;
            if signatures.iter().any(|other| (other.name, other.id) == (line.name, line.id)) {
                return Err(CheckpointError::Duplicate);
            }
            signatures.push(line);
        }
        Ok(Self { text, signatures })
    }
}

impl<'a> Line<'a> {
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
        // The note's own rule. Control characters were refused before.
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
            return None;
        }
        // The decoder takes padding in the middle as well: a signature has one spelling.
        let bytes = BASE64.decode(signature.as_bytes()).ok().filter(|bytes| BASE64.encode(bytes) == signature)?;
        let (id, signature) = bytes.split_first_chunk()?;
        (!signature.is_empty()).then(|| Self { name, id: *id, signature: signature.to_vec() })
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id[..], &self.signature].concat();
        write!(f, "{DASH}{} {}", self.name, BASE64.encode_display(&bytes))
    }
}

/// One signature line, without its newline.
pub(super) fn line(key: &VerifierKey, signature: &[u8]) -> String {
    Line { name: key.name(), id: key.id(), signature: signature.to_vec() }.to_string()
}

/// The body of a checkpoint.
pub(super) fn body(origin: &str, head: &Head) -> String {
    format!("{origin}\n{}\n{}\n", head.size, BASE64.encode_display(&head.root))
}

/// Adds the first signature to the text that it signs.
pub(super) fn push_signature(text: &mut String, key: &VerifierKey, signature: &[u8]) {
    writeln!(text, "\n{}", line(key, signature)).expect("a String takes what is written");
}

/// The origin and the head that a note's text says.
pub(super) fn read_body(text: &str) -> Result<(&str, Head), CheckpointError> {
    let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or(CheckpointError::Origin)?;
    let size = lines.next().and_then(decimal).ok_or(CheckpointError::Size)?;
    let root = lines.next().and_then(unhash).ok_or(CheckpointError::Root)?;
    if lines.next().is_some() {
        return Err(CheckpointError::Extension);
    }
    if size == 0 && root != tree::Tree::default().root() {
        return Err(CheckpointError::Root);
    }
    Ok((origin, Head { size, root }))
}

/// For the fuzz target: reads a checkpoint, whoever signed it, and prints it again.
#[doc(hidden)]
#[must_use]
pub fn fuzz_checkpoint(bytes: &[u8]) -> Option<String> {
    let note = Note::parse(bytes).ok()?;
    let (origin, head) = read_body(note.text).ok()?;
    let lines: Vec<String> = note.signatures.iter().map(ToString::to_string).collect();
    Some(format!("{}\n{}\n", body(origin, &head), lines.join("\n")))
}
