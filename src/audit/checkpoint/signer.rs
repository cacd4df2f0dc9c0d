//! The private key of a log.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

use super::{
    CheckpointKeyError, Head, VerifierKey,
    key::{self, Kind},
    note,
};
use crate::{
    entropy,
    secret::{ExposeSecret as _, Secret, SecretString},
};

const PRIVATE: &str = "PRIVATE+KEY+";

/// Signs the heads of one ledger. Cheap to clone; `Debug` shows the public key alone.
///
/// ```
/// use tower_ward::{
///     audit::{CheckpointError, CheckpointKeyError, CheckpointSigner, CheckpointVerifier, Head, VerifiedCheckpoint},
///     secret::{ExposeSecret, Secret},
/// };
///
/// let signer = CheckpointSigner::generate("clinic.example/ledger")?;
/// let note = signer.sign(Head::new(3, [7; 32]));
/// assert!(note.starts_with("clinic.example/ledger\n3\nBwcH"));
///
/// // Whoever has the public key tells a head that the ledger signed.
/// let verifier = CheckpointVerifier::new(signer.verifier_key().clone())?;
/// let checkpoint: VerifiedCheckpoint = verifier.verify(&note)?;
/// assert_eq!(checkpoint.head(), Head::new(3, [7; 32]));
/// assert_eq!(verifier.verify(note.replace("\n3\n", "\n4\n")), Err(CheckpointError::BadSignature));
///
/// // The private key is text too, to be kept where keys are kept.
/// let again = CheckpointSigner::decode(&signer.encode())?;
/// assert_eq!(again.sign(Head::new(3, [7; 32])), note);
/// assert!(!format!("{signer:?}").contains(signer.encode().expose_secret()));
/// let zeros = CheckpointSigner::from_seed("clinic.example/ledger", Secret::new(Box::new([0; 32])));
/// assert!(matches!(zeros, Err(CheckpointKeyError::Weak)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Security
///
/// Who has this key can sign any head. A head that was signed before and is kept elsewhere still contradicts a ledger that
/// was written anew: that is what witnesses are for.
#[derive(Clone)]
pub struct CheckpointSigner {
    pair: Arc<Ed25519KeyPair>,
    seed: Arc<Secret<[u8; 32]>>,
    key: VerifierKey,
}

impl CheckpointSigner {
    /// The signer of the log with this name, its origin, by an Ed25519 seed (RFC 8032 §5.1.5). The name is like a URL without
    /// scheme: 1 to 255 visible ASCII characters without `+`.
    ///
    /// # Errors
    ///
    /// [`CheckpointKeyError::Name`] or [`Scheme`](CheckpointKeyError::Scheme) if it is no such name,
    /// [`CheckpointKeyError::Weak`] if the seed is one byte repeated.
    ///
    /// # Panics
    ///
    /// If aws-lc refuses to make a key, which it does for want of memory alone.
    pub fn from_seed(name: &str, seed: Secret<[u8; 32]>) -> Result<Self, CheckpointKeyError> {
        key::check_name(name)?;
        if name.contains("://") {
            return Err(CheckpointKeyError::Scheme);
        }
        let bytes = seed.expose_secret();
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(CheckpointKeyError::Weak);
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(bytes).expect("any 32 bytes are an Ed25519 seed");
        let public = pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        let key = VerifierKey::new(name, Kind::Log, public);
        Ok(Self { pair: Arc::new(pair), seed: Arc::new(seed), key })
    }

    /// A signer with a new key from the operating system's generator.
    ///
    /// # Errors
    ///
    /// If the name is none: as [`from_seed`](Self::from_seed).
    ///
    /// # Panics
    ///
    /// If the operating system's generator fails.
    pub fn generate(name: &str) -> Result<Self, CheckpointKeyError> {
        let seed = Secret::init_with_mut(|seed: &mut [u8; 32]| entropy::fill_key(seed));
        Self::from_seed(name, seed)
    }

    /// The signer from its text, as [`encode`](Self::encode) and the tools of other logs write it.
    ///
    /// # Errors
    ///
    /// If it is not exactly such a text, of a log's Ed25519 key, with the id that belongs to name and key. The error names
    /// what is wrong and repeats nothing of the text.
    pub fn decode(text: &SecretString) -> Result<Self, CheckpointKeyError> {
        let text = text.expose_secret().strip_prefix(PRIVATE).ok_or(CheckpointKeyError::Form)?;
        let (name, id, bytes) = key::parts(text)?;
        if bytes[0] != Kind::Log as u8 {
            return Err(CheckpointKeyError::Algorithm);
        }
        let seed = Secret::init_with_mut(|seed: &mut [u8; 32]| seed.copy_from_slice(&bytes[1..]));
        let signer = Self::from_seed(name, seed)?;
        if signer.key.id() == id { Ok(signer) } else { Err(CheckpointKeyError::Id) }
    }

    /// The private key as text: `PRIVATE+KEY+NAME+ID+BASE64`.
    #[must_use]
    pub fn encode(&self) -> SecretString {
        let mut bytes = Zeroizing::new([Kind::Log as u8; 33]);
        bytes[1..].copy_from_slice(self.seed.expose_secret());
        let (name, id) = (self.key.name(), HEXLOWER.encode(&self.key.id()));
        // Exactly as long as it becomes: a text that grows leaves copies behind, and so does boxing one with room to spare.
        let mut text =
            String::with_capacity(PRIVATE.len() + name.len() + id.len() + 2 + BASE64.encode_len(bytes.len()));
        for part in [PRIVATE, name, "+", &id, "+"] {
            text.push_str(part);
        }
        BASE64.encode_append(&*bytes, &mut text);
        SecretString::from(text)
    }

    /// What others verify its checkpoints by.
    #[must_use]
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    /// The checkpoint of a head: the text of a signed note.
    ///
    /// A log must never sign a head that does not continue those it signed before; only the ledger knows that.
    #[must_use]
    pub fn sign(&self, head: Head) -> String {
        let mut text = note::body(self.key.name(), &head);
        let signature = self.pair.sign(text.as_bytes());
        note::push_signature(&mut text, &self.key, signature.as_ref());
        text
    }
}

impl CheckpointSigner {
    /// The signature line of a text that is no checkpoint.
    pub(crate) fn sign_line(&self, text: &str) -> String {
        note::line(&self.key, self.pair.sign(text.as_bytes()).as_ref())
    }
}

impl fmt::Debug for CheckpointSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointSigner").field("key", &self.key).finish_non_exhaustive()
    }
}
