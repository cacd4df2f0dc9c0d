//! Verified tokens, kept warm: a signature is checked once, and everything that can change is checked every time.
//!
//! The key is the whole token, compared in full after a hash. Only tokens whose signature verified get in, so a stranger
//! can neither fill it nor choose what collides in it, and the hash need not be one that withstands an attacker.

use std::{fmt, num::NonZeroUsize};

use foldhash::fast::RandomState;
use quick_cache::{Equivalent, UnitWeighter, sync::Cache};
use zeroize::Zeroizing;

use super::token::Verified;

pub(crate) struct Warm(Cache<Token, Verified, UnitWeighter, RandomState>);

/// A token's text, wiped when it leaves.
#[derive(Clone, PartialEq, Eq)]
struct Token(Zeroizing<Box<[u8]>>);

impl std::hash::Hash for Token {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self.0).hash(state);
    }
}

impl Equivalent<Token> for [u8] {
    fn equivalent(&self, key: &Token) -> bool {
        *self == **key.0
    }
}

impl Warm {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        let weight = u64::try_from(capacity.get()).unwrap_or(u64::MAX);
        Self(Cache::with(capacity.get(), weight, UnitWeighter, RandomState::default(), Default::default()))
    }

    pub(crate) fn find(&self, token: &[u8]) -> Option<Verified> {
        self.0.get(token)
    }

    pub(crate) fn keep(&self, token: &[u8], verified: &Verified) {
        self.0.insert(Token(Zeroizing::new(token.into())), verified.clone());
    }

    pub(crate) fn forget(&self, token: &[u8]) {
        self.0.remove(token);
    }
}

impl fmt::Debug for Warm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warm").field("len", &self.0.len()).finish_non_exhaustive()
    }
}
