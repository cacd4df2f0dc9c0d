//! Telling a checkpoint that the log signed.

use std::collections::BTreeSet;

use super::{
    CheckpointError, CheckpointKeyError, Head, VerifierKey,
    note::{self, Line, Note},
};
use crate::{audit::record::Record, clock::Timestamp};

/// Verifies the checkpoints of one log.
///
/// 1. The note is at most [`MAX_CHECKPOINT`](super::MAX_CHECKPOINT) bytes of UTF-8 without control characters; its text ends
///    with a blank line; at most 64 well-formed signature lines follow, no two by one key.
/// 2. The text is three lines: the log's name as its key has it, the size, the root, each in its one spelling.
/// 3. Signatures of unknown keys are ignored, also such that share a name or an id with a known one.
/// 4. A signature of a known key that does not hold is an error, whoever else has signed.
/// 5. One or more keys of the log have signed: the current one or an old one.
/// 6. As many known witnesses have signed as the quorum says; by default none needs to. Two keys of one witness are one.
///
/// ```
/// use tower_ward::audit::{CheckpointError, CheckpointKeyError, CheckpointSigner, CheckpointVerifier, Head, VerifierKey};
///
/// let (old, new) = ("clinic.example/ledger", "clinic.example/ledger");
/// let (old, new) = (CheckpointSigner::generate(old)?, CheckpointSigner::generate(new)?);
/// let checkpoint = old.sign(Head::new(1, [7; 32]));
///
/// let verifier = CheckpointVerifier::new(new.verifier_key().clone())?;
/// assert_eq!(verifier.verify(&checkpoint), Err(CheckpointError::Unsigned));
/// let verifier = verifier.add_old_key(old.verifier_key().clone())?;
/// assert!(verifier.verify(&checkpoint).is_ok_and(|signed| !signed.is_by_current_key()));
///
/// // A checkpoint that a witness must have seen.
/// let witness: VerifierKey = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2".parse()?;
/// let strict = verifier.add_witness(witness)?.with_quorum(1)?;
/// assert_eq!(strict.verify(&checkpoint), Err(CheckpointError::Quorum { have: 0, need: 1 }));
/// # Ok::<(), CheckpointKeyError>(())
/// ```
///
/// # Security
///
/// Against whoever hands over a checkpoint that the log did not sign. Not against a log that signs two heads for two readers,
/// or whose key was stolen: that takes a quorum of witnesses, or a [consistency proof](super::super::ConsistencyProof) from
/// a checkpoint that was kept. A stolen old key signs as well as a current one: of a new checkpoint, ask
/// [`is_by_current_key`](VerifiedCheckpoint::is_by_current_key).
#[derive(Debug, Clone)]
pub struct CheckpointVerifier {
    /// The log's, the current one first, then the witnesses'.
    keys: Vec<VerifierKey>,
    quorum: usize,
}

impl CheckpointVerifier {
    /// A verifier for the log with this key, whose name is its origin.
    ///
    /// # Errors
    ///
    /// [`CheckpointKeyError::NotLog`] if it is a witness's.
    pub fn new(key: VerifierKey) -> Result<Self, CheckpointKeyError> {
        if key.is_witness() { Err(CheckpointKeyError::NotLog) } else { Ok(Self { keys: vec![key], quorum: 0 }) }
    }

    /// Takes another key of the same log, which signed before the current one did.
    ///
    /// # Errors
    ///
    /// [`CheckpointKeyError::NotLog`] if it is a witness's, [`OtherName`](CheckpointKeyError::OtherName) if it is another
    /// log's, [`Repeated`](CheckpointKeyError::Repeated) if it is there already.
    pub fn add_old_key(self, key: VerifierKey) -> Result<Self, CheckpointKeyError> {
        if key.is_witness() {
            return Err(CheckpointKeyError::NotLog);
        }
        if key.name() != self.current().name() {
            return Err(CheckpointKeyError::OtherName);
        }
        self.add(key)
    }

    /// Takes a witness's key.
    ///
    /// # Errors
    ///
    /// [`CheckpointKeyError::NotWitness`] if it is a log's, [`Repeated`](CheckpointKeyError::Repeated) if its public key is
    /// there already, under any name: a cosignature does not say whose it is.
    pub fn add_witness(self, key: VerifierKey) -> Result<Self, CheckpointKeyError> {
        if key.is_witness() { self.add(key) } else { Err(CheckpointKeyError::NotWitness) }
    }

    fn add(mut self, key: VerifierKey) -> Result<Self, CheckpointKeyError> {
        let same = |other: &VerifierKey| {
            other.public() == key.public() || (other.name(), other.id()) == (key.name(), key.id())
        };
        if self.keys.iter().any(same) {
            return Err(CheckpointKeyError::Repeated);
        }
        self.keys.push(key);
        Ok(self)
    }

    /// How many of the witnesses must have signed. Default: 0.
    ///
    /// # Errors
    ///
    /// [`CheckpointKeyError::Quorum`] if there are fewer: add them first.
    pub fn with_quorum(mut self, quorum: usize) -> Result<Self, CheckpointKeyError> {
        let witnesses: BTreeSet<_> = self.keys.iter().filter(|key| key.is_witness()).map(VerifierKey::name).collect();
        if quorum > witnesses.len() {
            return Err(CheckpointKeyError::Quorum);
        }
        self.quorum = quorum;
        Ok(self)
    }

    fn current(&self) -> &VerifierKey {
        &self.keys[0]
    }

    /// The head that the log signed.
    ///
    /// # Errors
    ///
    /// The first rule that the note breaks. Nothing of a note that was refused may be believed, or shown to anybody.
    pub fn verify(&self, note: impl AsRef<[u8]>) -> Result<VerifiedCheckpoint, CheckpointError> {
        let note = Note::parse(note.as_ref())?;
        let (origin, head) = note::read_body(note.text)?;
        if origin != self.current().name() {
            return Err(CheckpointError::OtherLog);
        }
        let mut signed_by: Option<&VerifierKey> = None;
        let mut cosignatures = Vec::new();
        for line in &note.signatures {
            let Some(key) = self.keys.iter().find(|key| (key.name(), key.id()) == (line.name, line.id)) else {
                continue;
            };
            if key.is_witness() {
                cosignatures.push(Cosignature { witness: key.clone(), time: cosigned(key, line, note.text)? });
            } else if !key.holds(note.text.as_bytes(), &line.signature) {
                return Err(CheckpointError::BadSignature);
            } else if signed_by.is_none() || key == self.current() {
                signed_by = Some(key);
            }
        }
        let key = signed_by.ok_or(CheckpointError::Unsigned)?;
        let witnesses: BTreeSet<_> = cosignatures.iter().map(Cosignature::witness).collect();
        if witnesses.len() < self.quorum {
            return Err(CheckpointError::Quorum { have: witnesses.len(), need: self.quorum });
        }
        Ok(VerifiedCheckpoint { head, key: key.clone(), current: key == self.current(), cosignatures })
    }
}

impl CheckpointVerifier {
    /// Whether the log has signed this prune record, in this place.
    ///
    /// ```
    /// use tower_ward::audit::{CheckpointError, CheckpointSigner, CheckpointVerifier, Prune, Record};
    ///
    /// # fn keys() -> Result<CheckpointVerifier, Box<dyn std::error::Error>> {
    /// #     Ok(CheckpointVerifier::new(CheckpointSigner::generate("clinic.example/ledger")?.verifier_key().clone())?)
    /// # }
    /// let line = format!(
    ///     r#"{{"v":1,"index":9,"stream":"harbour","seq":4,"prev":"{}","at":"2033-12-01T02:00:00.000000000Z","mono":5,"#,
    ///     "0f".repeat(32),
    /// ) + r#""kind":"pruned","prune":{"from":0,"below":4,"until":"2026-12-01T02:00:00.000000000Z","kept":"2"},"#
    ///     + "\"signature\":\"\u{2014} clinic.example/ledger AAAAAAAA\"}";
    /// let record = Record::from_bytes(line.as_bytes())?;
    /// let prune: &Prune = record.prune().ok_or("it says what may go")?;
    /// assert!(prune.covers(1) && !prune.covers(2) && !prune.covers(4));
    /// // Whoever it is by, it is not by this log.
    /// assert_eq!(keys()?.verify_prune(&record), Err(CheckpointError::Unsigned));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Unsigned`] if it is no prune record, or signed by none of the log's keys;
    /// [`CheckpointError::BadSignature`] if one of theirs does not hold.
    pub fn verify_prune(&self, record: &Record) -> Result<(), CheckpointError> {
        let line = record.signature().and_then(Line::parse).ok_or(CheckpointError::Unsigned)?;
        let mut logs = self.keys.iter().filter(|key| !key.is_witness());
        let key = logs.find(|key| (key.name(), key.id()) == (line.name, line.id)).ok_or(CheckpointError::Unsigned)?;
        let holds = key.holds(record.signed_text().as_bytes(), &line.signature);
        if holds { Ok(()) } else { Err(CheckpointError::BadSignature) }
    }
}

/// The time of a cosignature that holds: `time(8) ‖ signature(64)` over `cosignature/v1`, the time and the text.
fn cosigned(key: &VerifierKey, line: &Line<'_>, text: &str) -> Result<Timestamp, CheckpointError> {
    let (time, signature) = line.signature.split_first_chunk().ok_or(CheckpointError::BadSignature)?;
    let time = u64::from_be_bytes(*time);
    let message = format!("cosignature/v1\ntime {time}\n{text}");
    if !key.holds(message.as_bytes(), signature) {
        return Err(CheckpointError::BadSignature);
    }
    let seconds = i64::try_from(time).map_err(|_| CheckpointError::Time)?;
    Timestamp::from_second(seconds).map_err(|_| CheckpointError::Time)
}

/// A head that the log signed. Only a [`CheckpointVerifier`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    head: Head,
    key: VerifierKey,
    current: bool,
    cosignatures: Vec<Cosignature>,
}

impl VerifiedCheckpoint {
    /// The size and the root that were signed.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.key.name()
    }

    /// The key that signed: the current one if that did, else an old one.
    #[must_use]
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Whether the log's current key has signed, and not an old one alone.
    #[must_use]
    pub fn is_by_current_key(&self) -> bool {
        self.current
    }

    /// What the known witnesses have signed, in the order of the note.
    #[must_use]
    pub fn cosignatures(&self) -> &[Cosignature] {
        &self.cosignatures
    }
}

/// A witness's word that, at this time, the checkpoint continued what it had seen before.
///
/// ```
/// use tower_ward::{audit::{CheckpointVerifier, Cosignature, VerifierKey}, clock::Timestamp};
///
/// fn seen_by(verifier: &CheckpointVerifier, note: &str) -> Vec<(String, Timestamp)> {
///     let signed = verifier.verify(note);
///     let cosignatures = signed.iter().flat_map(|signed| signed.cosignatures());
///     cosignatures.map(|c: &Cosignature| (c.witness().to_owned(), c.time())).collect()
/// }
///
/// let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse()?;
/// assert!(seen_by(&CheckpointVerifier::new(key)?, "not a checkpoint").is_empty());
/// # Ok::<(), tower_ward::audit::CheckpointKeyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    witness: VerifierKey,
    time: Timestamp,
}

impl Cosignature {
    /// The witness's name.
    #[must_use]
    pub fn witness(&self) -> &str {
        self.witness.name()
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &VerifierKey {
        &self.witness
    }

    /// When it signed, by its own clock, to the second.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }
}
