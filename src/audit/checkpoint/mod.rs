//! Checkpoints: the head of a ledger, signed, so that it can be kept and shown elsewhere.
//!
//! The text is a [signed note] with the body of a [tlog-checkpoint], signed with Ed25519, with [cosignatures] of witnesses
//! beneath it. `docs/ledger.md` gives the bytes.
//!
//! [signed note]: https://c2sp.org/signed-note
//! [tlog-checkpoint]: https://c2sp.org/tlog-checkpoint
//! [cosignatures]: https://c2sp.org/tlog-cosignature

mod error;
mod key;
mod note;
mod signer;
mod verifier;

pub use error::{CheckpointError, CheckpointKeyError};
pub use key::VerifierKey;
pub use note::MAX_CHECKPOINT;
#[doc(hidden)]
pub use note::fuzz_checkpoint;
pub use signer::CheckpointSigner;
pub use verifier::{CheckpointVerifier, Cosignature, VerifiedCheckpoint};

use super::{
    ledger::{Head, tree},
    proof::{decimal, unhash},
};

#[cfg(test)]
mod tests;
