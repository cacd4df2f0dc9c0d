//! What is refused as a root key, and how.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    super::{KeySource, KeySourceError, KeySourceErrorKind as Kind, RootKey, derive, derive::label, root::ENCODED},
    load, sound, text_of,
};
use crate::secret::ExposeSecret;

/// Neither the text, nor any long part of it, nor the bytes behind it.
fn assert_silent(error: &KeySourceError, text: &str, row: &str) {
    let shown = format!("{error} {error:?} {:?}", error.kind());
    let body = text.rsplit(':').next().unwrap_or(text);
    for start in 0..body.len().saturating_sub(8) {
        if let Some(part) = body.get(start..start + 8) {
            assert!(!shown.contains(part), "{row}: {shown}");
        }
    }
    if let Ok(bytes) = data_encoding::BASE64URL_NOPAD.decode(body.as_bytes()) {
        for part in bytes.windows(4) {
            assert!(!shown.contains(&hex::encode(part)), "{row}");
            assert!(!shown.contains(format!("{part:?}").trim_matches(['[', ']'])), "{row}");
        }
    }
}

fn weak_keys() -> Vec<(&'static str, Vec<u8>, Kind)> {
    let counting = |step: u8| (0..32u8).map(|i| i.wrapping_mul(step).wrapping_add(7)).collect::<Vec<u8>>();
    let mut few = sound();
    few.iter_mut().for_each(|b| *b &= 0x0f);
    few[0] |= 0x80;
    vec![
        ("all zero", vec![0; 32], Kind::AllZero),
        ("all ones", vec![0xff; 32], Kind::RepeatedByte),
        ("one byte repeated", vec![0x5a; 32], Kind::RepeatedByte),
        ("counting up", counting(1), Kind::Sequential),
        ("counting down", counting(0xff), Kind::Sequential),
        ("counting in steps of 37", counting(37), Kind::Sequential),
        ("two bytes in turn", [1, 2].repeat(16), Kind::RepeatedPattern),
        ("deadbeef", [0xde, 0xad, 0xbe, 0xef].repeat(8), Kind::RepeatedPattern),
        ("half a key twice", [&sound()[..16], &sound()[..16]].concat(), Kind::RepeatedPattern),
        ("a password", b"correct horse battery staple 123".to_vec(), Kind::Text),
        ("hex text", b"9f86d081884c7d659a2feaa0c55ad015".to_vec(), Kind::Text),
        ("fifteen distinct bytes and fewer", few.to_vec(), Kind::LowVariety),
    ]
}

// proves CLM-05, CLM-20
#[test]
fn every_bad_text_is_refused_with_its_own_sentence() {
    let good = text_of(&sound());
    assert!(load(&good).is_ok());
    let body = &good[18..];
    let padded = data_encoding::BASE64URL.encode(&sound());
    // The last character carries four bits; setting its lowest two spells the same bytes again.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(body.chars().last().unwrap()).unwrap();
    let twin = format!("{}{}", &good[..good.len() - 1], &alphabet[last + 1..last + 2]);
    let mut rows = vec![
        ("empty", String::new(), Kind::Empty),
        ("a space before", format!(" {good}"), Kind::Whitespace),
        ("a newline in a variable", format!("{good}\n"), Kind::Whitespace),
        ("white space alone", "  ".to_owned(), Kind::Whitespace),
        ("no prefix", body.to_owned(), Kind::Prefix),
        ("another version", good.replace("v1", "v2"), Kind::Prefix),
        ("the prefix in capitals", good.replace("tower", "TOWER"), Kind::Prefix),
        ("hex", hex::encode(sound()), Kind::Prefix),
        ("the prefix alone", "tower-ward-key-v1:".to_owned(), Kind::Short),
        ("one character short", good[..good.len() - 1].to_owned(), Kind::Short),
        ("16 bytes", text_of(&sound()[..16]), Kind::Short),
        ("one character long", format!("{good}A"), Kind::Long),
        ("padded", format!("tower-ward-key-v1:{padded}"), Kind::Long),
        ("two keys", format!("{good}{good}"), Kind::Long),
        ("64 bytes", text_of(&[sound(), sound()].concat()), Kind::Long),
        ("the standard alphabet", format!("{}+", &good[..good.len() - 1]), Kind::Encoding),
        ("a space within", format!("{} {}", &good[..30], &good[31..]), Kind::Encoding),
        ("non-zero trailing bits", twin, Kind::Encoding),
        ("43 bytes that are not 43 characters", format!("tower-ward-key-v1:{}é", &body[..41]), Kind::Encoding),
    ];
    rows.extend(weak_keys().into_iter().map(|(row, key, kind)| (row, text_of(&key), kind)));
    for (row, text, kind) in rows {
        let error = load(&text).expect_err(row);
        assert_eq!(error.kind(), &kind, "{row}");
        assert!(error.to_string().starts_with("env:WARD_KEY: "), "{row}: {error}");
        assert_silent(&error, &text, row);
    }
}

#[test]
fn every_sentence_is_its_own_and_says_what_to_do() {
    let all = [
        Kind::NotASource,
        Kind::KeyAsSource,
        Kind::VariableMissing,
        Kind::FileMissing,
        Kind::NoCredentials,
        Kind::RelativeCredentials,
        Kind::CredentialMissing,
        Kind::Symlink,
        Kind::Folder,
        Kind::NotRegular,
        Kind::Exposed { mode: 0o644 },
        Kind::Replaced,
        Kind::Unreadable(std::io::ErrorKind::PermissionDenied),
        Kind::Platform,
        Kind::Empty,
        Kind::NotText,
        Kind::Whitespace,
        Kind::Prefix,
        Kind::Short,
        Kind::Long,
        Kind::Encoding,
        Kind::AllZero,
        Kind::RepeatedByte,
        Kind::RepeatedPattern,
        Kind::Sequential,
        Kind::Text,
        Kind::LowVariety,
    ];
    let sentences: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(sentences.len(), all.len());
    for sentence in &sentences {
        assert!(sentence.contains(": ") && !sentence.ends_with('.'), "no advice: {sentence}");
    }
}

#[cfg(unix)]
mod files {
    use std::os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    };

    use super::*;

    fn write(path: &Path, content: &[u8], mode: u32) {
        std::fs::write(path, content).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn no_environment(_: &str) -> Option<OsString> {
        None
    }

    // proves CLM-05, CLM-20
    #[test]
    fn every_bad_file_is_refused_with_its_own_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let good = text_of(&sound());
        write(&at("good"), good.as_bytes(), 0o600);
        write(&at("newline"), format!("{good}\n").as_bytes(), 0o400);
        for name in ["good", "newline"] {
            assert!(RootKey::load(&KeySource::File(at(name))).is_ok(), "{name}");
        }

        symlink(at("good"), at("symlink")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        std::fs::DirBuilder::new().mode(0o700).create(at("folder")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        // Nobody writes to it: who opened it as a file would wait for ever.
        let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(at("pipe")).status().unwrap();
        assert!(made.success());
        let mut rows = vec![
            ("missing", at("missing"), Kind::FileMissing),
            ("a missing folder", at("missing/key"), Kind::FileMissing),
            ("a file as a folder", at("good/key"), Kind::Unreadable(std::io::ErrorKind::NotADirectory)),
            ("a NUL in the path", at("a\0b"), Kind::Unreadable(std::io::ErrorKind::InvalidInput)),
            ("a symbolic link to a good key", at("symlink"), Kind::Symlink),
            ("a dangling link", at("dangling"), Kind::Symlink),
            ("a folder", at("folder"), Kind::Folder),
            ("a socket", at("socket"), Kind::NotRegular),
            ("a named pipe", at("pipe"), Kind::NotRegular),
            ("a device", PathBuf::from("/dev/null"), Kind::NotRegular),
            ("a device without end", PathBuf::from("/dev/zero"), Kind::NotRegular),
        ];
        let modes = [0o644, 0o640, 0o604, 0o660, 0o620, 0o602, 0o610, 0o601, 0o777];
        for mode in modes {
            let path = at(&format!("mode-{mode:o}"));
            write(&path, good.as_bytes(), mode);
            rows.push(("open to others", path, Kind::Exposed { mode }));
        }
        let contents: [(&str, Vec<u8>, Kind); 9] = [
            ("empty", Vec::new(), Kind::Empty),
            ("a newline alone", b"\n".to_vec(), Kind::Empty),
            ("two newlines", format!("{good}\n\n").into_bytes(), Kind::Whitespace),
            ("a carriage return", format!("{good}\r\n").into_bytes(), Kind::Whitespace),
            ("a comment after it", format!("{good}\n# prod").into_bytes(), Kind::Long),
            ("much too long", good.repeat(100_000).into_bytes(), Kind::Long),
            ("raw bytes", vec![0xff; 32], Kind::NotText),
            ("a byte order mark", [&[0xef, 0xbb, 0xbf], good.as_bytes()].concat(), Kind::Prefix),
            ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect(), Kind::Prefix),
        ];
        for (row, content, kind) in contents {
            let path = at(row);
            write(&path, &content, 0o600);
            rows.push((row, path, kind));
        }
        for (row, path, kind) in rows {
            let error = RootKey::load(&KeySource::File(path.clone())).expect_err(row);
            assert_eq!(error.kind(), &kind, "{row}");
            assert!(error.to_string().starts_with(&format!("file:{}: ", path.display())), "{row}: {error}");
            assert_silent(&error, &good, row);
        }
    }

    #[test]
    fn a_credential_stays_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = folder.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        let good = text_of(&sound());
        write(&folder.path().join("outside"), good.as_bytes(), 0o600);
        // systemd's access list shows as `r` for the group.
        write(&credentials.join("root"), good.as_bytes(), 0o440);
        write(&credentials.join("writable"), good.as_bytes(), 0o460);
        write(&credentials.join("world"), good.as_bytes(), 0o444);
        symlink(credentials.join("root"), credentials.join("link")).unwrap();

        let set = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| credentials.clone().into_os_string());
        let credential = |name: &str| KeySource::Credential(name.to_owned());
        assert!(RootKey::load_in(&credential("root"), &set).is_ok());
        let rows = [
            ("root", &no_environment as &dyn Fn(&str) -> Option<OsString>, Kind::NoCredentials),
            ("root", &|_| Some("credentials".into()), Kind::RelativeCredentials),
            ("other", &set, Kind::CredentialMissing),
            ("link", &set, Kind::Symlink),
            ("writable", &set, Kind::Exposed { mode: 0o460 }),
            ("world", &set, Kind::Exposed { mode: 0o444 }),
            ("../outside", &set, Kind::NotASource),
            ("..", &set, Kind::NotASource),
            ("a/b", &set, Kind::NotASource),
            ("", &set, Kind::NotASource),
        ];
        for (name, environment, kind) in rows {
            let error = RootKey::load_in(&credential(name), environment).expect_err(name);
            assert_eq!(error.kind(), &kind, "{name}");
            assert_silent(&error, &good, name);
        }
    }

    #[test]
    fn a_new_key_file_is_for_its_owner_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let key = RootKey::generate();
        key.write_new_file(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let loaded = RootKey::load(&KeySource::File(path.clone())).unwrap();
        assert_eq!(loaded.fingerprint(), key.fingerprint());

        let link = folder.path().join("link");
        symlink(folder.path().join("elsewhere"), &link).unwrap();
        for taken in [&path, &link] {
            let error = RootKey::generate().write_new_file(taken).expect_err("it is there");
            assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        }
        assert!(!folder.path().join("elsewhere").exists());
        assert_eq!(RootKey::load(&KeySource::File(path)).unwrap().fingerprint(), key.fingerprint());
    }
}

#[test]
fn a_variable_is_read_by_its_name_alone() {
    let source = KeySource::Env("WARD_KEY".to_owned());
    let good = text_of(&sound());
    let only = |name: &str| (name == "WARD_KEY").then(|| OsString::from(&good));
    assert!(RootKey::load_in(&source, &only).is_ok());
    assert_eq!(RootKey::load_in(&source, &|_| None).unwrap_err().kind(), &Kind::VariableMissing);
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = |_: &str| Some(OsString::from_vec(vec![0xff; 61]));
        assert_eq!(RootKey::load_in(&source, &bytes).unwrap_err().kind(), &Kind::NotText);
    }
}

#[test]
fn a_key_in_the_place_of_its_source_is_not_repeated() {
    let key = text_of(&sound());
    for text in [key.clone(), format!("env:{key}"), format!("file:{key}"), format!("credential:{key}")] {
        let error = text.parse::<KeySource>().expect_err("a key");
        assert_eq!(error.kind(), &Kind::KeyAsSource);
        assert_silent(&error, &key, &text);
    }
    for source in [KeySource::Env(key.clone()), KeySource::File(key.clone().into()), KeySource::Credential(key.clone())]
    {
        let error = RootKey::load(&source).expect_err("a key");
        assert_eq!(error.kind(), &Kind::NotASource);
        assert_silent(&error, &key, "made by hand");
    }
}

#[test]
fn a_source_has_one_spelling() {
    for good in ["env:WARD_KEY", "file:/etc/ward.key", "file:root.key", "credential:root", "credential:a.b-c_d"] {
        assert_eq!(good.parse::<KeySource>().unwrap().to_string(), good);
    }
    let bad = [
        "",
        "WARD_KEY",
        "env:",
        "env:A=B",
        "env:9A",
        "env:A B",
        "file:",
        "file:a\0b",
        "credential:",
        "credential:../a",
    ];
    for bad in bad.into_iter().chain(["credential:a/b", "credential:.a", "ENV:A", "http://x", "canary-82ab"]) {
        let error = bad.parse::<KeySource>().expect_err(bad);
        assert_eq!(error.kind(), &Kind::NotASource, "{bad}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[test]
fn generated_keys_differ_and_come_back_whole() {
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let key = RootKey::generate();
        let text = key.encode();
        assert_eq!(text.expose_secret().len(), ENCODED);
        assert_eq!(load(text.expose_secret()).unwrap().fingerprint(), key.fingerprint());
        assert!(seen.insert(key.fingerprint()));
    }
}

#[test]
fn labels_are_distinct_and_of_one_form() {
    assert_eq!(BTreeSet::from(label::ALL).len(), label::ALL.len());
    assert!(label::ALL.iter().all(|label| label.starts_with("tower-ward/v1/")));
}

/// Without the lengths, (`ab`, `c`) and (`a`, `bc`) would give one key.
#[test]
fn parts_of_a_derivation_do_not_run_together() {
    let key = sound();
    let derived = |label, parts: &[&[u8]]| *derive::derive(&key, label, parts);
    let all = [
        derived("ab", &[b"c"]),
        derived("a", &[b"bc"]),
        derived("abc", &[]),
        derived("ab", &[b"c", b""]),
        derived("ab", &[b"", b"c"]),
        derived("ab", &[b"\0\x01c"]),
    ];
    assert_eq!(BTreeSet::from(all).len(), all.len());
}

/// A PIN is read as a root key is, and has a form of its own.
#[test]
fn another_secret_is_one_line_and_its_faults_are_told_apart() {
    use super::super::source::read_secret;

    let source = KeySource::Env("TOKEN_PIN".to_owned());
    let read = |text: &str| read_secret(&source, 16, &|_| Some(text.into()));
    assert_eq!(read("canary 8391-b04d").unwrap().expose_secret(), "canary 8391-b04d");
    for (text, kind) in [
        ("", Kind::Empty),
        ("canary 8391-b04d2", Kind::Oversize { most: 16 }),
        (" canary", Kind::Whitespace),
        ("canary ", Kind::Whitespace),
        ("canary\n", Kind::Whitespace),
        ("can\nary", Kind::NotText),
        ("can\0ary", Kind::NotText),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.kind(), &kind, "{text:?}");
        assert!(error.to_string().starts_with("env:TOKEN_PIN: "), "{error}");
        assert!(text.is_empty() || !format!("{error} {error:?}").contains("canary"), "{text:?}");
    }
    let error = read_secret(&source, 16, &|_| None).unwrap_err();
    assert_eq!(error.kind(), &Kind::VariableMissing);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        for (text, kind) in [
            ("canary 8391-b04d\n", None),
            ("canary 8391-b04d\n\n", Some(Kind::Oversize { most: 16 })),
            ("canary 8391-b04d and so on", Some(Kind::Oversize { most: 16 })),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let read = read_secret(&KeySource::File(path.clone()), 16, &|_| None);
            assert_eq!(read.err().map(|error| error.kind().clone()), kind, "{text:?}");
        }
    }
}
