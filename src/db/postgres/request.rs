//! What a server asks of the database, signed: which clinic a transaction is in, and what it may change.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    access::Relations,
    audit::AttemptId,
    clock::Timestamp,
    db::{TxError, change::kind},
    entropy,
    id::{SubjectId, TenantId, UserId},
    keys::Keyring,
};

const LABEL: &str = "tower-ward/v1/postgres-tenant";
/// SHA-256's, in bytes.
const BLOCK: usize = 64;

/// How a transaction enters a clinic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Read,
    Change,
    Import,
    Reseal,
    Erase,
    Settle,
    Found,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Change => "change",
            Self::Import => "import",
            Self::Reseal => "reseal",
            Self::Erase => "erase",
            Self::Settle => "settle",
            Self::Found => "found",
        }
    }

    /// What begins its transaction, whatever an injected statement has set for the session that it is given. What is prepared for
    /// a query of the application's has a name, in the session that a pooler gave the transaction: the next one there, of another
    /// client, must not find it.
    pub(super) const fn begins(self, pooled: bool) -> &'static str {
        match (self, pooled) {
            (Self::Read, false) => "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL search_path TO DEFAULT",
            (Self::Read, true) => {
                "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL search_path TO DEFAULT; DEALLOCATE ALL"
            }
            (_, false) => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path TO DEFAULT",
            (_, true) => {
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path TO DEFAULT; DEALLOCATE ALL"
            }
        }
    }
}

/// A request. Nothing in it has a line break: identifiers are checked when they are made.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) verb: Verb,
    pub(super) subject: Option<SubjectId>,
    pub(super) attempt: Option<AttemptId>,
    pub(super) user: Option<UserId>,
    pub(super) relation: Option<Relations>,
}

impl<'a> Request<'a> {
    pub(super) const fn new(tenant: &'a TenantId, verb: Verb) -> Self {
        Self { tenant, verb, subject: None, attempt: None, user: None, relation: None }
    }

    fn text(&self, now: Timestamp) -> Result<String, TxError> {
        let kind = self.relation.map(kind).transpose()?;
        let mut text = format!("{}\n{}", self.tenant, self.verb.name());
        let attempt = self.attempt.map(|attempt| Uuid::from_bytes(*attempt.as_bytes()));
        for id in [self.subject.map(Uuid::from), attempt, self.user.map(Uuid::from)] {
            match id {
                Some(id) => write!(text, "\n{id}"),
                None => write!(text, "\n-"),
            }
            .expect("a string takes what is written");
        }
        let _ = write!(text, "\n{}\n{}", kind.unwrap_or("-"), now.as_millisecond());
        Ok(text)
    }
}

/// Signs requests with a key of the keyring's.
pub(super) struct Signer(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer([REDACTED])")
    }
}

impl Signer {
    pub(super) fn of(keyring: &Keyring) -> Self {
        Self(keyring.derive(LABEL))
    }

    /// A request, and its signature.
    pub(super) fn sign(&self, request: &Request<'_>, now: Timestamp) -> Result<(String, Vec<u8>), TxError> {
        let text = request.text(now)?;
        let signature = self.mac(text.as_bytes());
        Ok((text, signature))
    }

    /// What lets the transaction of an attempt commit.
    pub(super) fn leave(&self, attempt: AttemptId) -> Vec<u8> {
        self.mac(format!("leave\n{}", Uuid::from_bytes(*attempt.as_bytes())).as_bytes())
    }

    fn mac(&self, message: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes a key of any length");
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    }

    /// The two blocks of HMAC-SHA256 under this key (RFC 2104 §2): what the database computes with.
    pub(super) fn blocks(&self) -> [Zeroizing<Vec<u8>>; 2] {
        blocks(&*self.0)
    }
}

/// The blocks of a key that nobody else knows.
pub(super) fn fresh_blocks() -> [Zeroizing<Vec<u8>>; 2] {
    blocks(&*Zeroizing::new(entropy::array::<32>()))
}

fn blocks(key: &[u8]) -> [Zeroizing<Vec<u8>>; 2] {
    let block = |pad: u8| {
        let mut block = Zeroizing::new(vec![pad; BLOCK]);
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    [block(0x36), block(0x5c)]
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn the_blocks_make_the_same_mac_as_the_key() {
        let signer = Signer(Zeroizing::new([7; 32]));
        let [inner, outer] = signer.blocks();
        let hash = |parts: [&[u8]; 2]| Sha256::new().chain_update(parts[0]).chain_update(parts[1]).finalize();
        assert_eq!(hash([&outer, &hash([&inner, b"message"])]).to_vec(), signer.mac(b"message"));
    }

    #[test]
    fn a_request_has_seven_lines_whatever_is_in_it() {
        let tenant = TenantId::new("harbour").expect("a clinic");
        let mut request = Request::new(&tenant, Verb::Change);
        let now = Timestamp::from_millisecond(1_790_000_000_123).expect("a time");
        assert_eq!(request.text(now).expect("a request"), "harbour\nchange\n-\n-\n-\n-\n1790000000123");
        request.relation = Some(Relations::CIRCLE);
        request.attempt = Some(AttemptId::from_bytes([1; 16]));
        let text = request.text(now).expect("a request");
        assert_eq!(text.lines().nth(3), Some("01010101-0101-0101-0101-010101010101"));
        assert_eq!((text.lines().count(), text.lines().nth(5)), (7, Some("circle")));
        // What is derived is not kept.
        request.relation = Some(Relations::OWN);
        assert!(matches!(request.text(now), Err(TxError::NoRelation)));
    }
}
