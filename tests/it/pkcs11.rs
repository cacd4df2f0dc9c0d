//! Keys on a token: SoftHSM, and what befalls it. Some tests put a module between that fails when it is told to.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::{
    collections::HashSet, error::Error, fs, num::NonZeroUsize, os::unix::fs::PermissionsExt as _, time::Duration,
};

use tower_ward::{
    clock::{Clock as _, SystemClock},
    id::TenantId,
    keys::{
        KeyBytes, KeyContext, KeyProvider as _, KeySource, Pkcs11Options, Pkcs11Provider, ProviderError,
        ProviderErrorKind::{self, Denied, Garbled, Mismatch, Unavailable},
    },
    secret::{ExposeSecret as _, Secret},
};

use crate::support::{
    gcm::opens_under_both,
    softhsm::{Kek, PIN, SoftToken, TOKEN},
};

const KEK: &str = "kek-2026";
/// A time-out that a busy machine does not reach by itself.
const LIMIT: Duration = Duration::from_millis(500);
const NAME: &str = "pkcs11:clinic token/kek-2026";

fn north() -> KeyContext {
    KeyContext::tenant(TenantId::new("northgate").unwrap())
}

fn key(byte: u8) -> KeyBytes {
    Secret::new(Box::new([byte; 32]))
}

async fn open(options: Pkcs11Options) -> Pkcs11Provider {
    Pkcs11Provider::open(options).await.unwrap()
}

/// Everything that an error says, its causes among it.
fn said(error: &dyn Error) -> String {
    let mut text = format!("{error:?} {error:#?}");
    let mut next = Some(error);
    while let Some(error) = next {
        text += &format!(" {error}");
        next = error.source();
    }
    text
}

/// The error is of this kind, begins with the key's name, has the word in its text, and says no secret.
fn assert_refused<T>(row: &str, answer: Result<T, ProviderError>, kind: ProviderErrorKind, word: &str) {
    let error = answer.err().unwrap_or_else(|| panic!("{row}: not refused"));
    assert_eq!(error.kind(), kind, "{row}: {error:?}");
    assert!(error.to_string().starts_with(&format!("{}: ", error.key())), "{row}: {error}");
    assert!(error.key().starts_with("pkcs11:"), "{row}: {error}");
    assert!(error.to_string().contains(word), "{row}: {error}");
    assert!(!said(&error).contains("canary"), "{row}: {}", said(&error));
}

#[tokio::test]
async fn a_key_comes_back_and_no_iv_is_used_twice() {
    let Some(token) = SoftToken::of("pkcs11::a_key_comes_back_and_no_iv_is_used_twice") else { return };
    token.make(&Kek::new(KEK));
    let kek = open(token.faulty_options(KEK)).await;
    let mut ivs = HashSet::new();
    for byte in 0..100 {
        for context in [north(), KeyContext::platform()] {
            let wrapped = kek.wrap(&key(byte), &context).await.unwrap();
            assert_eq!((wrapped.len(), wrapped[0]), (61, 1));
            ivs.insert(wrapped[1..13].to_vec());
            assert_eq!(kek.unwrap(&wrapped, &context).await.unwrap().expose_secret(), &[byte; 32]);
        }
    }
    assert_eq!(ivs.len(), 200);

    let about = kek.describe().await.unwrap();
    assert_eq!((about.provider, about.key.as_str(), about.version.as_deref()), ("pkcs11", NAME, None));
    assert!(about.enabled && about.confined);
    assert_eq!(about.created, None);
    token.fault("dated", true);
    assert_eq!(kek.describe().await.unwrap().created, Some("2026-03-01T00:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn calls_at_once_share_the_sessions() {
    let Some(token) = SoftToken::of("pkcs11::calls_at_once_share_the_sessions") else { return };
    token.make(&Kek::new(KEK));
    let kek = open(token.faulty_options(KEK).with_sessions(NonZeroUsize::new(3).unwrap())).await;
    let calls = (0..64).map(|byte| {
        let kek = kek.clone();
        tokio::spawn(async move {
            let wrapped = kek.wrap(&key(byte), &north()).await.unwrap();
            assert_eq!(kek.unwrap(&wrapped, &north()).await.unwrap().expose_secret(), &[byte; 32]);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(token.count("logins"), 1, "a process logs in once");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_when_it_is_opened() {
    let Some(token) = SoftToken::of("pkcs11::what_does_not_fit_is_refused_when_it_is_opened") else { return };
    token.make(&Kek::new(KEK));
    token.make(&Kek { id: 1, ..Kek::new("twice") });
    token.make(&Kek { id: 2, ..Kek::new("twice") });
    token.make(&Kek { length: 16, ..Kek::new("aes-128") });
    token.make(&Kek { private: false, ..Kek::new("public") });
    token.make(&Kek { sensitive: false, ..Kek::new("shown") });
    token.make(&Kek { extractable: true, ..Kek::new("extractable") });
    token.make(&Kek { encrypt: false, ..Kek::new("no encrypt") });
    token.make(&Kek { decrypt: false, ..Kek::new("no decrypt") });
    token.init("twin");
    token.init("twin");
    let module = "/usr/lib/softhsm/libsofthsm2.so";
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.so");
    fs::write(&text, "no library").unwrap();
    let pin_file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Pkcs11Options::new(module, TOKEN, KEK, KeySource::File(path))
    };
    let pin = || token.pin();

    let rows = [
        ("a module without its folder", Pkcs11Options::new("libsofthsm2.so", TOKEN, KEK, pin()), Denied, "`module`"),
        (
            "a module that is not there",
            Pkcs11Options::new("/nowhere/hsm.so", TOKEN, KEK, pin()),
            Unavailable,
            "`module`",
        ),
        ("a module that is no library", Pkcs11Options::new(&text, TOKEN, KEK, pin()), Unavailable, "`module`"),
        ("another library", Pkcs11Options::new(token.other_library(), TOKEN, KEK, pin()), Garbled, "`module`"),
        ("no token's label", Pkcs11Options::new(module, "", KEK, pin()), Denied, "`token`"),
        ("a token's label of 33 bytes", Pkcs11Options::new(module, "x".repeat(33), KEK, pin()), Denied, "`token`"),
        ("a padded token's label", Pkcs11Options::new(module, "clinic token ", KEK, pin()), Denied, "`token`"),
        ("a token that is not there", Pkcs11Options::new(module, "clinic", KEK, pin()), Unavailable, "`token`"),
        ("two tokens of a label", Pkcs11Options::new(module, "twin", KEK, pin()), Denied, "two tokens"),
        ("no key's label", token.options(""), Denied, "`key`"),
        ("a key's label of two lines", token.options("kek\n2026"), Denied, "`key`"),
        ("a key that is not there", token.options("kek"), Denied, "no secret key"),
        ("two keys of a label", token.options("twice"), Denied, "two secret keys"),
        ("an id that no key has", token.options("twice").with_key_id([3]), Denied, "no secret key"),
        ("an empty id", token.options(KEK).with_key_id([]), Denied, "`with_key_id`"),
        ("a key of 128 bits", token.options("aes-128"), Denied, "`CKA_VALUE_LEN`"),
        ("a key without a PIN", token.options("public"), Denied, "`CKA_PRIVATE`"),
        ("a key that is shown", token.options("shown"), Denied, "`CKA_SENSITIVE`"),
        ("a key that can leave", token.options("extractable"), Denied, "`CKA_EXTRACTABLE`"),
        ("a key that may not encrypt", token.options("no encrypt"), Denied, "`CKA_ENCRYPT`"),
        ("a key that may not decrypt", token.options("no decrypt"), Denied, "`CKA_DECRYPT`"),
        ("no time", token.options(KEK).with_timeout(Duration::ZERO), Denied, "`with_timeout`"),
        (
            "a PIN in no variable",
            Pkcs11Options::new(module, TOKEN, KEK, KeySource::Env("TOKEN_PIN_UNSET".to_owned())),
            Denied,
            "`pin`",
        ),
        (
            "a PIN in no file",
            Pkcs11Options::new(module, TOKEN, KEK, KeySource::File("/nowhere/pin".into())),
            Denied,
            "`pin`",
        ),
        ("a PIN that others may read", pin_file("open", PIN, 0o644), Denied, "`pin`"),
        ("an empty PIN", pin_file("empty", "\n", 0o600), Denied, "`pin`"),
        ("a PIN of 257 bytes", pin_file("long", &"canary-".repeat(37)[..257], 0o600), Denied, "`pin`"),
        ("a PIN with a space", pin_file("space", &format!("{PIN} "), 0o600), Denied, "`pin`"),
        ("a PIN of two lines", pin_file("lines", &format!("{PIN}\n{PIN}"), 0o600), Denied, "`pin`"),
    ];
    for (row, options, kind, word) in rows {
        assert_refused(row, Pkcs11Provider::open(options).await, kind, word);
    }
    assert!(!token.has_seen_a_wrong_pin());

    // The same with nothing wrong, and with the identifier that says which of two.
    for options in [token.options(KEK), token.options("twice").with_key_id([2])] {
        let kek = open(options).await;
        let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
        assert_eq!(kek.unwrap(&wrapped, &north()).await.unwrap().expose_secret(), &[1; 32]);
    }
    let error = Pkcs11Provider::open(pin_file("open", PIN, 0o644)).await.unwrap_err();
    assert!(error.source().unwrap().to_string().contains("others may read"), "the cause says what is wrong with it");
}

#[tokio::test]
async fn a_wrong_pin_is_tried_once() {
    let Some(token) = SoftToken::of("pkcs11::a_wrong_pin_is_tried_once") else { return };
    token.make(&Kek::new(KEK));
    token.write_pin("canary-wrong-pin");
    assert!(!token.has_seen_a_wrong_pin());
    assert_refused("wrong PIN", Pkcs11Provider::open(token.faulty_options(KEK)).await, Denied, "refuses the PIN");
    assert_eq!(token.count("logins"), 1);
    assert!(token.has_seen_a_wrong_pin());
}

/// The PIN is changed while the provider runs, and the token taken out and put back, so that it has to log in again.
#[tokio::test]
async fn a_pin_that_has_become_wrong_is_tried_once_by_all_calls_together() {
    let Some(token) = SoftToken::of("pkcs11::a_pin_that_has_become_wrong_is_tried_once_by_all_calls_together") else {
        return;
    };
    token.make(&Kek::new(KEK));
    let kek = open(token.faulty_options(KEK)).await;
    let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
    assert_eq!(token.count("logins"), 1);
    token.change_pin("canary-new-pin");
    token.take_out();
    assert_refused("taken out", kek.unwrap(&wrapped, &north()).await, Unavailable, "`token`");
    token.put_back();
    let calls = (0..8).map(|_| {
        let (kek, wrapped) = (kek.clone(), wrapped.clone());
        tokio::spawn(async move { kek.unwrap(&wrapped, &north()).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_refused("all at once", call.await.unwrap(), Denied, "refuses the PIN");
    }
    for _ in 0..5 {
        assert_refused("one after the other", kek.wrap(&key(1), &north()).await, Denied, "refuses the PIN");
    }
    assert_refused("describe", kek.describe().await, Denied, "refuses the PIN");
    assert_eq!(token.count("logins"), 2);

    token.write_pin("canary-new-pin");
    let kek = open(token.faulty_options(KEK)).await;
    assert_eq!(kek.unwrap(&wrapped, &north()).await.unwrap().expose_secret(), &[1; 32]);
}

#[tokio::test]
async fn a_pin_is_not_tried_where_that_could_lock_the_token() {
    let Some(token) = SoftToken::of("pkcs11::a_pin_is_not_tried_where_that_could_lock_the_token") else { return };
    token.make(&Kek::new(KEK));
    for (fault, word) in [("final-try", "one more wrong PIN"), ("locked", "the PIN is locked")] {
        token.fault(fault, true);
        assert_refused(fault, Pkcs11Provider::open(token.faulty_options(KEK)).await, Denied, word);
        token.fault(fault, false);
    }
    assert_eq!(token.count("logins"), 0);
    // A token that has no clear word for what is wrong is not asked twice in a call either.
    token.fault("vague-login", true);
    assert_refused("vague", Pkcs11Provider::open(token.faulty_options(KEK)).await, Unavailable, "the token fails");
    assert_eq!(token.count("logins"), 1);
    token.fault("vague-login", false);
    open(token.faulty_options(KEK)).await;
}

#[tokio::test]
async fn a_token_that_was_taken_out_and_put_back_is_used_again() {
    let Some(token) = SoftToken::of("pkcs11::a_token_that_was_taken_out_and_put_back_is_used_again") else { return };
    token.make(&Kek::new(KEK));
    token.make(&Kek::new("kek-2027"));
    let mut pair = Vec::new();
    for (label, byte) in [(KEK, 1), ("kek-2027", 2)] {
        let kek = open(token.options(label)).await;
        let wrapped = kek.wrap(&key(byte), &north()).await.unwrap();
        pair.push((kek, wrapped, [byte; 32]));
    }
    for round in 0..4 {
        // Each is once the first to come back: SoftHSM then gives it the numbers of the other one's session and key.
        pair.swap(0, 1);
        let (kek, wrapped, _) = &pair[0];
        token.take_out();
        for _ in 0..2 {
            assert_refused("unwrap", kek.unwrap(wrapped, &north()).await, Unavailable, "`token`");
            assert_refused("wrap", kek.wrap(&key(3), &north()).await, Unavailable, "`token`");
            assert_refused("describe", kek.describe().await, Unavailable, "`token`");
        }
        token.put_back();
        for (kek, wrapped, key) in &pair {
            assert_eq!(kek.unwrap(wrapped, &north()).await.unwrap().expose_secret(), key, "{round}");
        }
        // Between two calls, nobody notices.
        token.take_out();
        token.put_back();
        for (kek, wrapped, key) in &pair {
            assert_eq!(kek.unwrap(wrapped, &north()).await.unwrap().expose_secret(), key, "{round}");
            assert!(kek.describe().await.unwrap().enabled);
        }
    }
    assert!(!token.has_seen_a_wrong_pin());
}

#[tokio::test]
async fn a_token_that_comes_late_is_found_at_the_next_try() {
    let Some(token) = SoftToken::of("pkcs11::a_token_that_comes_late_is_found_at_the_next_try") else { return };
    token.make(&Kek::new(KEK));
    token.take_out();
    assert_refused("not there yet", Pkcs11Provider::open(token.options(KEK)).await, Unavailable, "`token`");
    token.put_back();
    open(token.options(KEK)).await;
}

#[tokio::test]
async fn a_key_that_is_deleted_is_gone_and_another_of_its_label_is_another() {
    let Some(token) = SoftToken::of("pkcs11::a_key_that_is_deleted_is_gone_and_another_of_its_label_is_another") else {
        return;
    };
    token.make(&Kek::new(KEK));
    let kek = open(token.options(KEK)).await;
    let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
    token.delete(KEK);
    for _ in 0..2 {
        assert_refused("unwrap", kek.unwrap(&wrapped, &north()).await, Denied, "no secret key");
        assert_refused("wrap", kek.wrap(&key(1), &north()).await, Denied, "no secret key");
        assert_refused("describe", kek.describe().await, Denied, "no secret key");
    }
    token.make(&Kek { extractable: true, ..Kek::new(KEK) });
    assert_refused("a weaker key", kek.wrap(&key(1), &north()).await, Denied, "`CKA_EXTRACTABLE`");
    let about = kek.describe().await.unwrap();
    assert!(about.enabled && !about.confined);
    token.delete(KEK);
    token.make(&Kek::new(KEK));
    assert_refused("another key", kek.unwrap(&wrapped, &north()).await, Mismatch, "not wrapped by this key");
    let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
    assert_eq!(kek.unwrap(&wrapped, &north()).await.unwrap().expose_secret(), &[1; 32]);
}

#[tokio::test]
async fn a_key_that_may_not_decrypt_any_more_is_denied_until_it_may() {
    let Some(token) = SoftToken::of("pkcs11::a_key_that_may_not_decrypt_any_more_is_denied_until_it_may") else {
        return;
    };
    token.make(&Kek::new(KEK));
    let kek = open(token.options(KEK)).await;
    let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
    token.allow_decrypt(KEK, false);
    for _ in 0..2 {
        assert_refused("unwrap", kek.unwrap(&wrapped, &north()).await, Denied, "`CKA_DECRYPT`");
    }
    assert!(!kek.describe().await.unwrap().enabled);
    token.allow_decrypt(KEK, true);
    assert_eq!(kek.unwrap(&wrapped, &north()).await.unwrap().expose_secret(), &[1; 32]);
    assert!(kek.describe().await.unwrap().enabled);
}

#[tokio::test]
async fn every_flipped_bit_and_every_other_context_is_a_mismatch() {
    let Some(token) = SoftToken::of("pkcs11::every_flipped_bit_and_every_other_context_is_a_mismatch") else { return };
    token.make(&Kek::new(KEK));
    token.make(&Kek::new("another key"));
    let kek = open(token.faulty_options(KEK)).await;
    let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
    let mismatch = |row: &str, answer| assert_refused(row, answer, Mismatch, "not wrapped by this key");
    for bit in 0..wrapped.len() * 8 {
        let mut flipped = wrapped.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        mismatch(&format!("bit {bit}"), kek.unwrap(&flipped, &north()).await);
    }
    let south = KeyContext::tenant(TenantId::new("southgate").unwrap());
    for (row, context) in [("another tenant", south), ("the platform", KeyContext::platform())] {
        mismatch(row, kek.unwrap(&wrapped, &context).await);
    }
    mismatch("another key", open(token.faulty_options("another key")).await.unwrap(&wrapped, &north()).await);
    assert_eq!(kek.unwrap(&wrapped, &north()).await.unwrap().expose_secret(), &[1; 32]);
    assert_eq!(token.count("logins"), 1, "a mismatch costs no session");
}

#[tokio::test]
async fn bytes_of_another_form_are_a_mismatch_without_the_token() {
    let Some(token) = SoftToken::of("pkcs11::bytes_of_another_form_are_a_mismatch_without_the_token") else { return };
    token.make(&Kek::new(KEK));
    let kek = open(token.faulty_options(KEK)).await;
    let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
    let asked = token.count("decryptions");
    let mut forms: Vec<Vec<u8>> = (0..wrapped.len()).map(|length| wrapped[..length].to_vec()).collect();
    forms.extend([[&wrapped[..], &[0]].concat(), [&wrapped[..], &wrapped].concat(), vec![1; 4096]]);
    forms.extend([0, 2, 0x81].map(|format| [&[format], &wrapped[1..]].concat()));
    for form in forms {
        let row = format!("{} bytes", form.len());
        assert_refused(&row, kek.unwrap(&form, &north()).await, Mismatch, "not wrapped by this key");
    }
    assert_eq!(token.count("decryptions"), asked);
    kek.unwrap(&wrapped, &north()).await.unwrap();
    assert_eq!(token.count("decryptions"), asked + 1);
}

/// SoftHSM says `CKR_GENERAL_ERROR` of bytes that do not fit; a token that says it of everything has said nothing.
#[tokio::test]
async fn what_a_broken_token_says_is_no_mismatch() {
    let Some(token) = SoftToken::of("pkcs11::what_a_broken_token_says_is_no_mismatch") else { return };
    token.make(&Kek::new(KEK));
    let kek = open(token.faulty_options(KEK)).await;
    let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
    for (fault, kind, word) in [
        ("broken-decrypt", Unavailable, "does not open what it sealed"),
        ("removed-decrypt", Unavailable, "`token`"),
        ("short-decrypt", Garbled, "another length"),
    ] {
        token.fault(fault, true);
        assert_refused(fault, kek.unwrap(&wrapped, &north()).await, kind, word);
        token.fault(fault, false);
        assert_eq!(kek.unwrap(&wrapped, &north()).await.unwrap().expose_secret(), &[1; 32], "after {fault}");
    }
    token.fault("short-encrypt", true);
    assert_refused("short-encrypt", kek.wrap(&key(1), &north()).await, Garbled, "another length");
    token.fault("no-session-left", true);
    assert_refused("no-session-left", kek.wrap(&key(1), &north()).await, Unavailable, "`with_sessions`");
    token.fault("no-session-left", false);
    token.fault("short-encrypt", false);
    kek.wrap(&key(1), &north()).await.unwrap();

    for fault in ["broken-decrypt", "wrong-decrypt"] {
        token.fault(fault, true);
        let opened = Pkcs11Provider::open(token.faulty_options(KEK)).await;
        assert_refused(fault, opened, Unavailable, "does not open what it sealed");
        token.fault(fault, false);
    }
}

#[tokio::test]
async fn a_token_that_vanishes_while_its_key_is_looked_for_has_not_lost_it() {
    let Some(token) = SoftToken::of("pkcs11::a_token_that_vanishes_while_its_key_is_looked_for_has_not_lost_it") else {
        return;
    };
    token.make(&Kek::new(KEK));
    token.fault("vanishes", true);
    assert_refused("vanishes", Pkcs11Provider::open(token.faulty_options(KEK)).await, Unavailable, "`token`");
    assert_eq!(token.count("gone"), 1, "it was looked for");
    token.fault("vanishes", false);
    token.fault("gone", false);
    open(token.faulty_options(KEK)).await;
}

#[tokio::test]
async fn a_call_that_hangs_keeps_nobody_waiting() {
    let Some(token) = SoftToken::of("pkcs11::a_call_that_hangs_keeps_nobody_waiting") else { return };
    token.make(&Kek::new(KEK));
    let eight = NonZeroUsize::new(8).unwrap();
    let kek = open(token.faulty_options(KEK).with_timeout(LIMIT).with_sessions(eight)).await;
    let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
    let unwrap = || {
        let (kek, wrapped) = (kek.clone(), wrapped.clone());
        tokio::spawn(async move { kek.unwrap(&wrapped, &north()).await })
    };

    token.fault("hang-decrypt", true);
    let clock = SystemClock::new();
    assert_refused("hangs", kek.unwrap(&wrapped, &north()).await, Unavailable, "did not answer in time");
    assert!((LIMIT..6 * LIMIT).contains(&clock.monotonic()), "{:?}", clock.monotonic());
    kek.wrap(&key(1), &north()).await.unwrap();

    // Every place is taken by a caller that hangs up: they are given back nevertheless, once the time is over.
    let hung_up: Vec<_> = (0..8).map(|_| unwrap()).collect();
    tokio::time::sleep(LIMIT / 4).await;
    hung_up.iter().for_each(tokio::task::JoinHandle::abort);
    kek.wrap(&key(1), &north()).await.unwrap();

    // They add up to a bound, and then the answer comes at once.
    let (mut late, mut at_once) = (1 + 8, 0);
    while at_once == 0 {
        for call in (0..8).map(|_| unwrap()).collect::<Vec<_>>() {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), Unavailable);
            late += usize::from(error.to_string().contains("did not answer in time"));
            at_once += usize::from(error.to_string().contains("too many calls hang"));
        }
        assert!(late < 100, "without a bound");
    }
    assert_eq!((late, at_once), (24, 1), "16 beside the sessions");
    let clock = SystemClock::new();
    assert_refused("at once", kek.unwrap(&wrapped, &north()).await, Unavailable, "too many calls hang");
    assert!(clock.monotonic() < LIMIT, "{:?}", clock.monotonic());

    token.fault("hang-decrypt", false);
    let clock = SystemClock::new();
    while kek.unwrap(&wrapped, &north()).await.is_err() {
        assert!(clock.monotonic() < 10 * LIMIT, "it does not come back");
        tokio::time::sleep(LIMIT / 10).await;
    }
    token.take_out();
    assert_refused("taken out", kek.unwrap(&wrapped, &north()).await, Unavailable, "`token`");
    token.put_back();
    assert_eq!(kek.unwrap(&wrapped, &north()).await.unwrap().expose_secret(), &[1; 32]);
}

/// A token is not found again while a call hangs in its module, and a module is not stopped under a call.
#[tokio::test]
async fn a_module_is_not_started_anew_while_a_call_hangs_in_it() {
    let Some(token) = SoftToken::of("pkcs11::a_module_is_not_started_anew_while_a_call_hangs_in_it") else { return };
    token.make(&Kek::new(KEK));
    let kek = open(token.faulty_options(KEK).with_timeout(LIMIT)).await;
    let wrapped = kek.wrap(&key(1), &north()).await.unwrap();
    token.fault("hang-decrypt", true);
    assert_refused("hangs", kek.unwrap(&wrapped, &north()).await, Unavailable, "did not answer in time");
    token.take_out();
    for _ in 0..2 {
        assert_refused("taken out", kek.wrap(&key(1), &north()).await, Unavailable, "");
    }
    token.put_back();
    assert_refused("put back", kek.wrap(&key(1), &north()).await, Unavailable, "");
    token.fault("hang-decrypt", false);
    let clock = SystemClock::new();
    while kek.unwrap(&wrapped, &north()).await.is_err() {
        assert!(clock.monotonic() < 10 * LIMIT, "it does not come back");
        tokio::time::sleep(LIMIT / 10).await;
    }
}

/// A module that hangs for ever does not keep the program from ending: the test itself is the proof, as its runtime
/// ends while the call hangs.
#[tokio::test]
async fn a_login_that_hangs_is_waited_for_by_nobody_and_not_made_twice() {
    let Some(token) = SoftToken::of("pkcs11::a_login_that_hangs_is_waited_for_by_nobody_and_not_made_twice") else {
        return;
    };
    token.make(&Kek::new(KEK));
    let kek = open(token.faulty_options(KEK).with_timeout(LIMIT)).await;
    token.take_out();
    assert!(kek.describe().await.is_err());
    token.put_back();
    token.fault("hang-login", true);
    for row in ["the first", "the second", "the third"] {
        let clock = SystemClock::new();
        assert_refused(row, kek.wrap(&key(1), &north()).await, Unavailable, "");
        assert!(clock.monotonic() < 6 * LIMIT, "{:?}", clock.monotonic());
    }
    assert_eq!(token.count("logins"), 2, "one to open it, and one that hangs");
}

/// Why a record carries a commitment: to a provider, one blob is the wrapping of another key under each of two KEKs.
#[tokio::test]
async fn a_blob_can_be_made_to_open_under_two_keys_of_a_token() {
    let Some(token) = SoftToken::of("pkcs11::a_blob_can_be_made_to_open_under_two_keys_of_a_token") else { return };
    let (one, two) = ([0x11; 32], [0x22; 32]);
    token.make(&Kek::imported("one", one));
    token.make(&Kek::imported("two", two));
    let iv = [5; 12];
    let (ciphertext, tag) = opens_under_both([&one, &two], &iv, &north().to_bytes());
    let blob = [&[1][..], &iv, &ciphertext, &tag].concat();
    let mut opened = Vec::new();
    for label in ["one", "two"] {
        let kek = open(token.options(label)).await;
        opened.push(*kek.unwrap(&blob, &north()).await.unwrap().expose_secret());
        assert!(kek.describe().await.unwrap().confined, "imported, and held from then on");
    }
    assert_ne!(opened[0], opened[1]);
}

#[tokio::test]
async fn the_pin_and_the_key_are_in_no_output() {
    let Some(token) = SoftToken::of("pkcs11::the_pin_and_the_key_are_in_no_output") else { return };
    token.make(&Kek::new(KEK));
    let options = token.options(KEK);
    let mut shown = format!("{options:?} {options:#?}");
    let kek = open(options).await;
    let secret = Secret::new(Box::new(*b"canary-key-of-thirty-two-bytes!!"));
    let wrapped = kek.wrap(&secret, &north()).await.unwrap();
    let opened = kek.unwrap(&wrapped, &north()).await.unwrap();
    shown += &format!("{kek:?} {kek:#?} {opened:?} {:?}", kek.describe().await.unwrap());
    assert!(shown.contains("Pkcs11Provider(\"pkcs11:clinic token/kek-2026\", ..)"), "{shown}");
    shown += &said(&kek.unwrap(&wrapped[..60], &north()).await.unwrap_err());
    token.delete(KEK);
    shown += &said(&kek.unwrap(&wrapped, &north()).await.unwrap_err());
    for secret in ["canary", &hex::encode("canary"), "99, 97, 110, 97, 114, 121"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(!String::from_utf8_lossy(&wrapped).contains("canary"));
}
