//! Public keys, as the signed note names them.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use super::CheckpointKeyError;

/// The longest name: what a cosignature can hold.
const MAX_NAME: usize = 255;
/// A byte and 32 bytes in base64.
const ENCODED: usize = 44;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text of a note, by Ed25519.
    Log = 1,
    /// `cosignature/v1`, a time and the text, by Ed25519.
    Witness = 4,
}

/// The public key of a log or of a witness. As text: `NAME+ID+BASE64` ([signed note](https://c2sp.org/signed-note)).
///
/// ```
/// use tower_ward::audit::{CheckpointKeyError, CheckpointSigner, VerifierKey};
///
/// let signer = CheckpointSigner::generate("clinic.example/ledger")?;
/// let key: VerifierKey = signer.verifier_key().clone();
/// assert_eq!((key.name(), key.is_witness()), ("clinic.example/ledger", false));
///
/// let text = key.to_string();
/// assert!(text.starts_with("clinic.example/ledger+"));
/// assert_eq!(text.parse(), Ok(key));
/// assert_eq!(text.replace("clinic", "evil").parse::<VerifierKey>(), Err(CheckpointKeyError::Id));
/// # Ok::<(), CheckpointKeyError>(())
/// ```
///
/// # Security
///
/// The id is a short name, not a fingerprint: compare the whole text with one that came from somebody you trust.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: Box<str>,
    kind: Kind,
    public: [u8; 32],
    id: [u8; 4],
}

impl VerifierKey {
    /// The name has been [checked](check_name).
    pub(super) fn new(name: &str, kind: Kind, public: [u8; 32]) -> Self {
        Self { name: name.into(), kind, public, id: id(name, kind, &public) }
    }

    /// The log's origin, or the witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of the hash of name, algorithm and key: what a signature names the key by.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether it is a witness's, for cosignatures, and not a log's.
    #[must_use]
    pub fn is_witness(&self) -> bool {
        self.kind == Kind::Witness
    }

    pub(super) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    pub(super) fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(message, signature).is_ok()
    }
}

/// `SHA-256(name ‖ 0A ‖ algorithm ‖ key)[..4]`.
pub(super) fn id(name: &str, kind: Kind, public: &[u8; 32]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', kind as u8]).chain_update(public).finalize();
    let mut id = [0; 4];
    id.copy_from_slice(&hash[..4]);
    id
}

/// What is left of the points of small order without the sign's bit, in either encoding. Under such a key, signatures that
/// hold over anything can be made by anybody (RFC 8032 §5.1.7 does not exclude it).
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn is_weak(public: &[u8; 32]) -> bool {
    let mut unsigned = *public;
    unsigned[31] &= 0x7f;
    SMALL_ORDER.contains(&crate::codec::hex(&unsigned).as_str())
}

/// Visible ASCII, so that no two names look the same.
pub(super) fn check_name(name: &str) -> Result<(), CheckpointKeyError> {
    let visible = name.bytes().all(|b| b.is_ascii_graphic() && b != b'+');
    if visible && (1..=MAX_NAME).contains(&name.len()) { Ok(()) } else { Err(CheckpointKeyError::Name) }
}

/// `NAME+ID+BASE64` apart: the name, the id, and the algorithm's byte with the key after it.
pub(super) fn parts(text: &str) -> Result<(&str, [u8; 4], Decoded), CheckpointKeyError> {
    let (name, rest) = text.split_once('+').ok_or(CheckpointKeyError::Form)?;
    let (id, key) = rest.split_once('+').ok_or(CheckpointKeyError::Form)?;
    check_name(name)?;
    let id = crate::codec::unhex(id).ok_or(CheckpointKeyError::Id)?;
    if key.len() != ENCODED {
        return Err(CheckpointKeyError::Encoding);
    }
    // One line decodes it all: no part of a private key is left behind by growing.
    let mut bytes = Decoded::new([0; 33]);
    let decoded = BASE64.decode_mut(key.as_bytes(), &mut *bytes).map_err(|_| CheckpointKeyError::Encoding)?;
    if decoded != bytes.len() {
        return Err(CheckpointKeyError::Encoding);
    }
    Ok((name, id, bytes))
}

/// An algorithm's byte and a key, which may be a private one.
pub(super) type Decoded = zeroize::Zeroizing<[u8; 33]>;

impl FromStr for VerifierKey {
    type Err = CheckpointKeyError;

    /// Takes exactly what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, CheckpointKeyError> {
        if text.contains("PRIVATE+KEY") {
            return Err(CheckpointKeyError::Private);
        }
        let (name, id, bytes) = parts(text)?;
        let (kind, public) = bytes.split_first().expect("it has 33 bytes");
        let kind = match kind {
            1 => Kind::Log,
            4 => Kind::Witness,
            _ => return Err(CheckpointKeyError::Algorithm),
        };
        let public = public.try_into().expect("it has 33 bytes");
        if is_weak(&public) {
            return Err(CheckpointKeyError::Weak);
        }
        let key = Self::new(name, kind, public);
        if key.id == id { Ok(key) } else { Err(CheckpointKeyError::Id) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [self.kind as u8; 33];
        bytes[1..].copy_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode_display(&self.id), BASE64.encode_display(&bytes))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}
