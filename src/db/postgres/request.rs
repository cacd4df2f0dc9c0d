//! What a server asks of the database, signed: which clinic a transaction is in, and what it may change.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    access::Relations,
    audit::AttemptId,
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
    Assign,
    Unassign,
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
            Self::Assign => "assign",
            Self::Unassign => "unassign",
            Self::Import => "import",
            Self::Reseal => "reseal",
            Self::Erase => "erase",
            Self::Settle => "settle",
            Self::Found => "found",
        }
    }
}

/// A request. Nothing in it has a bar: identifiers are checked when they are made.
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

    fn text(&self, transaction: &str) -> Result<String, TxError> {
        let kind = self.relation.map(kind).transpose()?;
        let mut text = format!("{}|{}", self.tenant, self.verb.name());
        let attempt = self.attempt.map(|attempt| Uuid::from_bytes(*attempt.as_bytes()));
        for id in [self.subject.map(Uuid::from), attempt, self.user.map(Uuid::from)] {
            match id {
                Some(id) => write!(text, "|{id}"),
                None => write!(text, "|-"),
            }
            .expect("a string takes what is written");
        }
        let _ = write!(text, "|{}|{transaction}", kind.unwrap_or("-"));
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

    /// A request for this transaction and no other, and its signature.
    pub(super) fn sign(&self, request: &Request<'_>, transaction: &str) -> Result<(String, Vec<u8>), TxError> {
        let text = request.text(transaction)?;
        let signature = self.mac(text.as_bytes());
        Ok((text, signature))
    }

    /// What lets the transaction of an attempt commit.
    pub(super) fn leave(&self, attempt: AttemptId) -> Vec<u8> {
        self.mac(format!("leave|{}", Uuid::from_bytes(*attempt.as_bytes())).as_bytes())
    }

    /// What lets the library look at the proofs of relations, in this transaction and no other.
    pub(super) fn related(&self, transaction: &str) -> Vec<u8> {
        self.mac(format!("related|{transaction}").as_bytes())
    }

    /// What lets a transaction make a relation that ends then and has this proof.
    pub(super) fn relate(&self, attempt: AttemptId, until: Option<i64>, proof: &[u8]) -> Vec<u8> {
        let until = until.map_or_else(|| "-".to_owned(), |until| until.to_string());
        let (attempt, proof) = (Uuid::from_bytes(*attempt.as_bytes()), data_encoding::HEXLOWER.encode(proof));
        self.mac(format!("relate|{attempt}|{until}|{proof}").as_bytes())
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
    fn a_request_has_seven_parts_whatever_is_in_it() {
        let tenant = TenantId::new("harbour").expect("a clinic");
        let mut request = Request::new(&tenant, Verb::Change);
        assert_eq!(request.text("7 1.5").expect("a request"), "harbour|change|-|-|-|-|7 1.5");
        request.relation = Some(Relations::CIRCLE);
        request.attempt = Some(AttemptId::from_bytes([1; 16]));
        let text = request.text("7 1.5").expect("a request");
        let parts: Vec<_> = text.split('|').collect();
        assert_eq!((parts.len(), parts[3], parts[5]), (7, "01010101-0101-0101-0101-010101010101", "circle"));
        // What is derived is not kept.
        request.relation = Some(Relations::OWN);
        assert!(matches!(request.text("7 1.5"), Err(TxError::NoRelation)));
    }
}
