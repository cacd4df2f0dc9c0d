//! The keyring over a real file, and the `ward` command.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::sync::Arc;

use tower_ward::{
    id::{SubjectId, TenantId},
    keys::{KeyError, Keyring, RootKey},
    store::SqliteStore,
};

fn subject(byte: u8) -> SubjectId {
    SubjectId::from_bytes([byte; 16])
}

/// The root key's text, kept while the store is opened several times.
fn again(root: &RootKey) -> RootKey {
    use tower_ward::secret::ExposeSecret as _;
    RootKey::decode(root.encode().expose_secret(), "the test").unwrap()
}

#[tokio::test]
async fn keys_survive_a_restart_and_an_erasure_does_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let root = RootKey::generate();
    let north = TenantId::new("northgate").unwrap();
    {
        let store = SqliteStore::open(&path).await.unwrap();
        let keyring = Keyring::open(again(&root), Arc::new(store.clone())).await.unwrap();
        keyring.create_tenant(&north).await.unwrap();
        for i in 0..3 {
            keyring.create_subject(&north, subject(i)).await.unwrap();
        }
        assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
        store.close().await;
    }
    let store = Arc::new(SqliteStore::open(&path).await.unwrap());
    assert!(matches!(Keyring::open(RootKey::generate(), store.clone()).await, Err(KeyError::WrongRoot)));
    let keyring = Keyring::open(root, store).await.unwrap();
    assert_eq!(keyring.subjects(&north, &[subject(0), subject(2)]).await.unwrap().len(), 2);
    assert!(matches!(keyring.subject(&north, subject(1)).await, Err(KeyError::Erased)));
    assert!(matches!(keyring.subject(&north, subject(9)).await, Err(KeyError::Unknown)));
}

/// The wrapped key is found in the file before the erasure, and in none of the store's files after it.
#[tokio::test]
async fn an_erased_key_is_in_no_file() {
    use tower_ward::store::{Durable as _, ObjectName};

    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("keys.db")).await.unwrap());
    let keyring = Keyring::open(RootKey::generate(), store.clone()).await.unwrap();
    let north = TenantId::new("northgate").unwrap();
    keyring.create_tenant(&north).await.unwrap();
    keyring.create_subject(&north, subject(1)).await.unwrap();
    let name = ObjectName::tenant(&north, "key", &format!("subject-{}", subject(1))).unwrap();
    let wrapped = store.get(&name).await.unwrap().unwrap().value;
    // Every part of it: a page that kept half of the ciphertext would be found too.
    let left = || {
        let files: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect();
        wrapped[10..]
            .chunks(16)
            .filter(|part| part.len() >= 12)
            .any(|part| files.iter().any(|file| file.windows(part.len()).any(|window| window == part)))
    };
    assert!(left(), "the search finds what is there");
    assert!(keyring.erase_subject(&north, subject(1)).await.unwrap().is_complete());
    assert!(!left());
}

#[cfg(feature = "cli")]
mod ward {
    use std::{
        path::Path,
        process::{Command, Output},
    };

    fn ward(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ward"));
        command.args(args).current_dir(folder).env_clear().envs(environment.iter().copied()).output().unwrap()
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn fingerprint(text: &str) -> String {
        let (_, rest) = text.split_once("fingerprint ").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }

    #[cfg(unix)]
    #[test]
    fn keygen_writes_for_the_owner_and_never_overwrites() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.key");
        let made = ward(folder.path(), &["keygen", "--out", "root.key"], &[]);
        assert!(made.status.success(), "{made:?}");
        let key = std::fs::read_to_string(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(key.starts_with("tower-ward-key-v1:") && key.len() == 62);
        let shown = text(&made.stdout) + &text(&made.stderr);
        assert!(!shown.contains("tower-ward-key-v1:") && !shown.contains(&key[18..61]), "{shown}");

        let checked = ward(folder.path(), &["keys", "check", "file:root.key"], &[]);
        assert_eq!(text(&checked.stdout), format!("ok file:root.key fingerprint {}\n", fingerprint(&shown)));

        let refused = ward(folder.path(), &["keygen", "--out", "root.key"], &[]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("never overwritten"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), key, "untouched");
    }

    #[test]
    fn keygen_prints_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let printed = ward(folder.path(), &["keygen", "--out", "-"], &[]);
        let key = text(&printed.stdout);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(!text(&printed.stderr).contains("tower-ward-key-v1:"));
        let checked = ward(folder.path(), &["keys", "check", "env:WARD_KEY"], &[("WARD_KEY", key.trim_end())]);
        assert!(checked.status.success(), "{checked:?}");
        assert_eq!(fingerprint(&text(&checked.stdout)), fingerprint(&text(&printed.stderr)));

        let quiet = ward(folder.path(), &["keygen"], &[]);
        assert!(quiet.status.success() && !text(&quiet.stdout).contains("tower-ward-key-v1:"));
        assert!(folder.path().join("tower-ward.key").is_file());
    }

    // proves CLM-20
    #[test]
    fn check_says_each_fault_and_never_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let zeros = format!("tower-ward-key-v1:{}", "A".repeat(43));
        let good = text(&ward(folder.path(), &["keygen", "--out", "-"], &[]).stdout).trim_end().to_owned();
        let environment = [
            ("GOOD", good.as_str()),
            ("ZEROS", &zeros),
            ("SHORT", &good[..40]),
            ("PLAIN", "canary-91c3"),
            ("EMPTY", ""),
        ];
        let sources =
            ["env:GOOD", "env:ZEROS", "env:SHORT", "env:PLAIN", "env:EMPTY", "env:UNSET", "file:none", "canary-91c3"];
        let checked = ward(folder.path(), &[&["keys", "check"], sources.as_slice()].concat(), &environment);
        assert_eq!(checked.status.code(), Some(1), "one good key does not make up for the others");
        assert!(text(&checked.stdout).starts_with("ok env:GOOD fingerprint "));
        let said = text(&checked.stderr);
        let expected = [
            "error: env:ZEROS: the key is all zeros",
            "error: env:SHORT: the key is too short",
            "error: env:PLAIN: it does not begin with `tower-ward-key-v1:`",
            "error: env:EMPTY: it is empty",
            "error: env:UNSET: the variable is not set",
            "error: file:none: there is no such file",
            "error: key source: not a key source",
        ];
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{said}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}");
        }
        for value in ["canary", &good[18..40], "AAAAAAAA"] {
            assert!(!said.contains(value) && !text(&checked.stdout).contains(value), "{value}");
        }
    }

    #[test]
    fn a_key_among_the_arguments_is_refused_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let key = text(&ward(folder.path(), &["keygen", "--out", "-"], &[]).stdout).trim_end().to_owned();
        let attempts: [&[&str]; 4] =
            [&["keys", "check", &key], &["keygen", &key], &["keygen", "--out", &key], &["audit", "verify", &key]];
        for args in attempts {
            let refused = ward(folder.path(), args, &[]);
            assert_eq!(refused.status.code(), Some(2));
            assert!(!text(&refused.stderr).contains(&key[18..]) && refused.stdout.is_empty());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
