//! What follows from what a module answers when it does not do as asked.

use std::{error::Error as StdError, sync::Arc};

use cryptoki::{
    context::Function,
    error::{Error, RvError},
};

use super::super::{ProviderError, ProviderErrorKind};
use ProviderErrorKind::{Denied, Garbled, Mismatch, Unavailable};

/// A call that did not end well.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: ProviderErrorKind,
    pub(super) what: &'static str,
    pub(super) then: Then,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What is done with the session on which it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is used again.
    Keep,
    /// It is closed, and the call is over.
    Close,
    /// It is closed with all that wait, and the token is looked for anew, once in a call.
    Reopen,
    /// It is asked for something that must succeed, to tell bad bytes from a bad token.
    Probe,
    /// As `Close`, and the token is not logged in to again: each try with a wrong PIN brings it nearer to being locked.
    Stop,
}

impl Fault {
    pub(super) fn new(kind: ProviderErrorKind, then: Then, what: &'static str) -> Self {
        Self { kind, what, then, source: None }
    }

    pub(super) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(super) fn with_then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    /// The error as the trait gives it, of the key of this name.
    pub(super) fn of(self, name: &Arc<str>) -> ProviderError {
        let error = ProviderError::new(self.kind, Arc::clone(name), self.what);
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let (kind, then, what) = verdict(&error);
        Self::new(kind, then, what).with_source(error)
    }
}

/// The one table of what each return value means. What it does not name is no answer.
///
/// | said by the module | kind | why |
/// |---|---|---|
/// | the PIN is wrong, locked, expired or not set | `Denied` | the token has decided; it is not asked again |
/// | the key may not encrypt or decrypt | `Denied` | somebody took that from it; the key is looked at again first |
/// | `CKR_ENCRYPTED_DATA_INVALID` and its like, on decryption | `Mismatch` | that is how PKCS#11 says it |
/// | `CKR_GENERAL_ERROR` and its like, on decryption | `Mismatch` | so SoftHSM says it; believed after a probe |
/// | a handle is unknown, a session closed, nobody logged in | `Unavailable` | a token that was taken out says it too |
/// | token, slot or device not there; `CKR_GENERAL_ERROR` elsewhere | `Unavailable` | |
/// | a length or value that PKCS#11 does not have | `Garbled` | |
/// | anything else | `Unavailable` | |
///
/// That a *key* is gone is no return value: it is known from a token that is there and does not list it.
pub(super) fn verdict(error: &Error) -> (ProviderErrorKind, Then, &'static str) {
    use RvError as Rv;

    let (value, function) = match error {
        Error::Pkcs11(value, function) => (value, function),
        Error::LibraryLoading(_) => {
            return (Unavailable, Then::Close, "`module` cannot be loaded: name the library of the token's maker");
        }
        Error::MissingSymbol(_) => {
            return (Garbled, Then::Close, "`module` is no PKCS#11 module: name the library of the token's maker");
        }
        Error::NullFunctionPointer => {
            return (Garbled, Then::Close, "`module` lacks a function that PKCS#11 asks of it");
        }
        _ => return (Garbled, Then::Close, "the module gave a value that PKCS#11 does not have"),
    };
    let decrypting = matches!(function, Function::Decrypt);
    match value {
        Rv::PinIncorrect | Rv::PinInvalid | Rv::PinLenRange => (
            Denied,
            Then::Stop,
            "the token refuses the PIN that `pin` names: correct it and start again; it is not tried twice",
        ),
        Rv::PinLocked => (Denied, Then::Stop, PIN_LOCKED),
        Rv::PinExpired => {
            (Denied, Then::Stop, "the PIN has expired: set a new one, put it where `pin` says, and start again")
        }
        Rv::UserPinNotInitialized => (Denied, Then::Stop, PIN_NOT_SET),
        Rv::KeyFunctionNotPermitted | Rv::KeyTypeInconsistent | Rv::KeySizeRange | Rv::ActionProhibited => (
            Denied,
            Then::Reopen,
            "the token does not let the key encrypt and decrypt: see `CKA_ENCRYPT` and `CKA_DECRYPT`",
        ),
        Rv::EncryptedDataInvalid | Rv::EncryptedDataLenRange | Rv::SignatureInvalid if decrypting => {
            (Mismatch, Then::Keep, NOT_WRAPPED)
        }
        // `CKR_AEAD_DECRYPT_FAILED` of PKCS#11 3.0, which `cryptoki` has no name for.
        Rv::UnknownErrorCode(0x42) if decrypting => (Mismatch, Then::Keep, NOT_WRAPPED),
        Rv::GeneralError | Rv::FunctionFailed | Rv::DataInvalid | Rv::DataLenRange if decrypting => {
            (Mismatch, Then::Probe, NOT_WRAPPED)
        }
        Rv::BufferTooSmall => (Garbled, Then::Close, UNEXPECTED_LENGTH),
        Rv::SessionCount => {
            (Unavailable, Then::Close, "the token has no session left: lower `with_sessions`, or close others")
        }
        Rv::UserNotLoggedIn => (Unavailable, Then::Reopen, "the session is not logged in any more"),
        Rv::KeyHandleInvalid | Rv::ObjectHandleInvalid => {
            (Unavailable, Then::Reopen, "the session's key is not there any more")
        }
        Rv::SessionClosed | Rv::SessionHandleInvalid | Rv::CryptokiNotInitialized => {
            (Unavailable, Then::Reopen, "the token closed the session")
        }
        Rv::TokenNotPresent | Rv::TokenNotRecognized | Rv::DeviceRemoved | Rv::SlotIdInvalid => {
            (Unavailable, Then::Reopen, NO_TOKEN)
        }
        Rv::GeneralError | Rv::FunctionFailed | Rv::DeviceError | Rv::DeviceMemory => {
            (Unavailable, Then::Reopen, "the token fails: look at it, and at the log of its module")
        }
        _ => (Unavailable, Then::Close, "the token did not do as asked: look at the log of its module"),
    }
}

pub(super) const NO_TOKEN: &str = "no token has the label that `token` names: put it in, or correct the label";
pub(super) const NOT_WRAPPED: &str = "these bytes were not wrapped by this key in this context";
pub(super) const PIN_LOCKED: &str = "the PIN is locked: have the token's security officer unlock it, and start again";
pub(super) const PIN_NOT_SET: &str = "the token has no user PIN yet: have its security officer set one";
pub(super) const UNEXPECTED_LENGTH: &str = "the token gave an answer of another length than AES-GCM has";
