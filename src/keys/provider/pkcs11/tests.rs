//! The table of return values, and what is said of keys.

use cryptoki::{
    context::Function,
    error::{Error, Rv, RvError},
    object::Attribute,
    types::Date,
};

use super::{
    super::ProviderErrorKind::{self, Denied, Garbled, Mismatch, Unavailable},
    facts::{Facts, start},
    fault::{Then, verdict},
};

const CALLS: [Function; 12] = [
    Function::Initialize,
    Function::GetSlotList,
    Function::GetTokenInfo,
    Function::OpenSession,
    Function::Login,
    Function::GetSessionInfo,
    Function::FindObjects,
    Function::GetAttributeValue,
    Function::EncryptInit,
    Function::Encrypt,
    Function::DecryptInit,
    Function::Decrypt,
];

/// Every return value below those of vendors, and two of theirs.
fn values() -> impl Iterator<Item = RvError> {
    (1..0x300).chain([0x8000_0000, 0x8000_0b0b]).filter_map(|code| match Rv::from(code) {
        Rv::Ok => None,
        Rv::Error(error) => Some(error),
    })
}

/// What cuts access at once, by name: a value that is not in this list is never definite.
#[test]
fn only_these_answers_are_definite() {
    use RvError as Rv;

    let pin =
        [Rv::PinIncorrect, Rv::PinInvalid, Rv::PinLenRange, Rv::PinLocked, Rv::PinExpired, Rv::UserPinNotInitialized];
    let usage = [Rv::KeyFunctionNotPermitted, Rv::KeyTypeInconsistent, Rv::KeySizeRange, Rv::ActionProhibited];
    let tag = [Rv::EncryptedDataInvalid, Rv::EncryptedDataLenRange, Rv::SignatureInvalid, Rv::UnknownErrorCode(0x42)];
    let vague = [Rv::GeneralError, Rv::FunctionFailed, Rv::DataInvalid, Rv::DataLenRange];
    let mut seen = 0;
    for value in values() {
        for call in CALLS {
            let decrypting = matches!(call, Function::Decrypt);
            let (kind, then, what) = verdict(&Error::Pkcs11(value, call));
            let expected = if pin.contains(&value) {
                (Denied, Then::Stop)
            } else if usage.contains(&value) {
                (Denied, Then::Reopen)
            } else if decrypting && tag.contains(&value) {
                (Mismatch, Then::Keep)
            } else if decrypting && vague.contains(&value) {
                (Mismatch, Then::Probe)
            } else {
                assert!(!kind.is_definite(), "{value:?} of {call:?} is {kind:?}");
                continue;
            };
            assert_eq!((kind, then), expected, "{value:?} of {call:?}: {what}");
            seen += 1;
        }
    }
    assert_eq!(seen, 12 * (pin.len() + usage.len()) + tag.len() + vague.len());
}

#[test]
fn a_token_that_is_away_says_nothing_and_is_looked_for() {
    for value in [
        RvError::TokenNotPresent,
        RvError::TokenNotRecognized,
        RvError::DeviceRemoved,
        RvError::DeviceError,
        RvError::SlotIdInvalid,
        RvError::SessionClosed,
        RvError::SessionHandleInvalid,
        RvError::KeyHandleInvalid,
        RvError::ObjectHandleInvalid,
        RvError::UserNotLoggedIn,
        RvError::CryptokiNotInitialized,
    ] {
        for call in CALLS {
            let (kind, then, _) = verdict(&Error::Pkcs11(value, call));
            assert_eq!((kind, then), (Unavailable, Then::Reopen), "{value:?} of {call:?}");
        }
    }
}

#[test]
fn what_pkcs11_does_not_have_is_garbled() {
    let rows: [(Error, ProviderErrorKind); 6] = [
        (Error::NotSupported, Garbled),
        (Error::InvalidValue, Garbled),
        (Error::NullFunctionPointer, Garbled),
        (Error::MissingSymbol("C_GetFunctionList"), Garbled),
        (Error::Pkcs11(RvError::BufferTooSmall, Function::Decrypt), Garbled),
        (Error::Pkcs11(RvError::VendorDefined(0x8000_0001), Function::Decrypt), Unavailable),
    ];
    for (error, expected) in rows {
        assert_eq!(verdict(&error).0, expected, "{error:?}");
    }
}

#[test]
fn a_key_is_refused_for_each_attribute_and_for_one_that_is_not_told() {
    let sound = Facts {
        aes: Some(true),
        length: Some(32),
        private: Some(true),
        sensitive: Some(true),
        extractable: Some(false),
        encrypt: Some(true),
        decrypt: Some(true),
        created: None,
    };
    assert_eq!(sound.refusal(), None);
    type Set = fn(&mut Facts, Option<bool>);
    let rows: [(&str, Set, bool); 6] = [
        ("`CKA_KEY_TYPE`", |facts, is| facts.aes = is, false),
        ("`CKA_PRIVATE`", |facts, is| facts.private = is, false),
        ("`CKA_SENSITIVE`", |facts, is| facts.sensitive = is, false),
        ("`CKA_EXTRACTABLE`", |facts, is| facts.extractable = is, true),
        ("`CKA_ENCRYPT`", |facts, is| facts.encrypt = is, false),
        ("`CKA_DECRYPT`", |facts, is| facts.decrypt = is, false),
    ];
    for (word, set, wrong) in rows {
        for is in [Some(wrong), None] {
            let mut facts = sound.clone();
            set(&mut facts, is);
            assert!(facts.refusal().is_some_and(|what| what.contains(word)), "{word} {is:?}");
        }
    }
    for length in [Some(16), Some(24), Some(33), None] {
        let refusal = Facts { length, ..sound.clone() }.refusal();
        assert!(refusal.is_some_and(|what| what.contains("`CKA_VALUE_LEN`")), "{length:?}");
    }
}

#[test]
fn a_start_date_is_one_or_none() {
    let date = |year: &[u8; 4], month: &[u8; 2], day: &[u8; 2]| {
        start(&[Attribute::StartDate(Date::new(*year, *month, *day))]).map(|time| time.to_string())
    };
    assert_eq!(date(b"2026", b"03", b"01").as_deref(), Some("2026-03-01T00:00:00Z"));
    for (year, month, day) in [
        (b"\0\0\0\0", b"\0\0", b"\0\0"),
        (b"    ", b"  ", b"  "),
        (b"2026", b"02", b"30"),
        (b"2026", b"13", b"01"),
        (b"\xff026", b"03", b"01"),
    ] {
        assert_eq!(date(year, month, day), None);
    }
    assert_eq!(start(&[]), None);
}
