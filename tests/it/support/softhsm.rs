//! A SoftHSM token of a test's own, and what befalls it.
//!
//! SoftHSM finds its tokens by an environment variable, and what a process does to a token happens to all of that
//! process: a login, above all. So a test that begins with [`SoftToken::of`] runs itself again in a process with a
//! token, and whatever the token's owner does to it is done by another process of the same program.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::Mechanism,
    object::{Attribute, KeyType, ObjectClass},
    session::{Session, UserType},
    types::AuthPin,
};
use serde_json::{Value, json};
use tower_ward::keys::{KeySource, Pkcs11Options};

/// Debian's package `softhsm2`.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The folder of the test; `faulty.c` reads it too.
const FOLDER: &str = "TOWER_WARD_TEST_TOKEN";
const DEED: &str = "TOWER_WARD_TEST_TOKEN_DEED";

pub(crate) const TOKEN: &str = "clinic token";
pub(crate) const PIN: &str = "canary-pin-b81d";
const SO_PIN: &str = "canary-so-pin-0c55";

/// A token that is there, in the process of a test.
#[derive(Debug)]
pub(crate) struct SoftToken {
    folder: PathBuf,
    test: &'static str,
}

/// A key to be made. The default is what the provider asks for, made on the token.
#[derive(Debug, Clone)]
pub(crate) struct Kek {
    pub(crate) label: &'static str,
    pub(crate) id: u8,
    /// Brought to the token instead of made on it.
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) length: u64,
    pub(crate) private: bool,
    pub(crate) sensitive: bool,
    pub(crate) extractable: bool,
    pub(crate) encrypt: bool,
    pub(crate) decrypt: bool,
}

impl Kek {
    pub(crate) fn new(label: &'static str) -> Self {
        Self {
            label,
            id: 1,
            bytes: None,
            length: 32,
            private: true,
            sensitive: true,
            extractable: false,
            encrypt: true,
            decrypt: true,
        }
    }

    pub(crate) fn imported(label: &'static str, bytes: [u8; 32]) -> Self {
        Self { bytes: Some(bytes.to_vec()), ..Self::new(label) }
    }
}

impl SoftToken {
    /// The token of the test whose full name is `test`; nothing in the processes around it, which are to return.
    pub(crate) fn of(test: &'static str) -> Option<Self> {
        let Some(folder) = std::env::var_os(FOLDER) else {
            let folder = tempfile::tempdir().expect("a folder");
            let token = Self { folder: folder.path().to_owned(), test };
            token.prepare();
            token.again(None);
            return None;
        };
        let token = Self { folder: folder.into(), test };
        fs::write(token.folder.join("ran"), "").expect("a mark");
        match std::env::var(DEED) {
            Ok(deed) => {
                perform(&serde_json::from_str(&deed).expect("a deed"), &token.folder);
                None
            }
            Err(_) => Some(token),
        }
    }

    fn prepare(&self) {
        let tokens = self.folder.join("tokens");
        fs::create_dir(&tokens).expect("a folder");
        let config =
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
        fs::write(self.config(), config).expect("a file");
        self.write_pin(PIN);
        self.init(TOKEN);
    }

    fn config(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// This test in a process of its own.
    fn again(&self, deed: Option<&Value>) {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([self.test, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(FOLDER, &self.folder).env("SOFTHSM2_CONF", self.config()).env_remove(DEED);
        command.envs(deed.map(|deed| (DEED, deed.to_string())));
        let _ = fs::remove_file(self.folder.join("ran"));
        let done = command.status().expect("this program");
        assert!(done.success(), "{} failed in its own process {deed:?}", self.test);
        // The harness takes it for a success that there is no test of a name.
        assert!(self.folder.join("ran").exists(), "there is no test `{}`", self.test);
    }

    /// One more token.
    pub(crate) fn init(&self, label: &str) {
        let mut command = Command::new("softhsm2-util");
        command.args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN]);
        let made = command
            .env("SOFTHSM2_CONF", self.config())
            .output()
            .unwrap_or_else(|error| panic!("this test needs `softhsm2-util` (Debian: softhsm2): {error}"));
        assert!(made.status.success(), "{made:?}");
    }

    /// What opens the key of this label, by SoftHSM itself.
    pub(crate) fn options(&self, key: &str) -> Pkcs11Options {
        Pkcs11Options::new(MODULE, TOKEN, key, self.pin())
    }

    /// The same through a module that fails when it is told to by [`fault`](Self::fault).
    pub(crate) fn faulty_options(&self, key: &str) -> Pkcs11Options {
        let module = self.folder.join("faulty.so");
        if !module.exists() {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/faulty.c");
            self.compile(source, &module);
        }
        Pkcs11Options::new(module, TOKEN, key, self.pin())
    }

    /// A library that is no PKCS#11 module.
    pub(crate) fn other_library(&self) -> PathBuf {
        let (source, library) = (self.folder.join("other.c"), self.folder.join("other.so"));
        fs::write(&source, "int other(void) { return 0; }").expect("a file");
        self.compile(source.to_str().expect("text"), &library);
        library
    }

    fn compile(&self, source: &str, library: &Path) {
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-Wall", "-Werror", &format!("-DREAL=\"{MODULE}\""), source, "-o"]);
        let done = command.arg(library).arg("-ldl").status().expect("this test needs `cc` (Debian: gcc)");
        assert!(done.success(), "{source} does not compile");
    }

    /// Where the PIN stands.
    pub(crate) fn pin(&self) -> KeySource {
        KeySource::File(self.folder.join("pin"))
    }

    /// What stands there from now on.
    pub(crate) fn write_pin(&self, pin: &str) {
        let path = self.folder.join("pin");
        fs::write(&path, format!("{pin}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    /// Turns a fault of `faulty.c` on or off.
    pub(crate) fn fault(&self, fault: &str, on: bool) {
        let path = self.folder.join(fault);
        if on { fs::write(path, "") } else { fs::remove_file(path) }.expect("a file");
    }

    /// How often `faulty.c` has counted.
    pub(crate) fn count(&self, what: &str) -> usize {
        fs::read(self.folder.join(what)).map_or(0, |counted| counted.len())
    }

    pub(crate) fn take_out(&self) {
        fs::rename(self.folder.join("tokens"), self.folder.join("taken out")).expect("the token");
        fs::create_dir(self.folder.join("tokens")).expect("an empty slot");
    }

    pub(crate) fn put_back(&self) {
        fs::remove_dir(self.folder.join("tokens")).expect("an empty slot");
        fs::rename(self.folder.join("taken out"), self.folder.join("tokens")).expect("the token");
    }

    pub(crate) fn make(&self, kek: &Kek) {
        self.again(Some(&json!({
            "do": "make", "label": kek.label, "id": kek.id, "bytes": kek.bytes, "length": kek.length,
            "private": kek.private, "sensitive": kek.sensitive, "extractable": kek.extractable,
            "encrypt": kek.encrypt, "decrypt": kek.decrypt,
        })));
    }

    pub(crate) fn delete(&self, label: &str) {
        self.again(Some(&json!({"do": "delete", "label": label})));
    }

    pub(crate) fn allow_decrypt(&self, label: &str, allowed: bool) {
        self.again(Some(&json!({"do": "allow", "label": label, "decrypt": allowed})));
    }

    pub(crate) fn change_pin(&self, to: &str) {
        self.again(Some(&json!({"do": "change pin", "pin": to})));
    }

    /// Whether the token has seen a wrong PIN since the last right one.
    pub(crate) fn has_seen_a_wrong_pin(&self) -> bool {
        self.again(Some(&json!({"do": "look"})));
        fs::read_to_string(self.folder.join("seen")).expect("an answer") == "true"
    }
}

/// What the token's owner does, in a process of its own.
fn perform(deed: &Value, folder: &Path) {
    let module =
        Pkcs11::new(MODULE).unwrap_or_else(|error| panic!("this test needs SoftHSM (Debian: softhsm2): {error}"));
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("a module");
    let slots = module.get_slots_with_token().expect("slots");
    let info = |slot| module.get_token_info(slot).expect("a token");
    let slot = slots.into_iter().find(|slot| info(*slot).label() == TOKEN).expect("the token");
    if deed["do"] == "look" {
        fs::write(folder.join("seen"), info(slot).user_pin_count_low().to_string()).expect("an answer");
        return;
    }
    let session = module.open_rw_session(slot).expect("a session");
    session.login(UserType::User, Some(&AuthPin::from(PIN))).expect("a login");
    let is = |name: &str| deed[name].as_bool().expect("yes or no");
    let label = || Attribute::Label(deed["label"].as_str().expect("a label").into());
    match deed["do"].as_str().expect("a deed") {
        "make" => make(&session, deed, label()),
        "delete" => found(&session, label()).for_each(|key| session.destroy_object(key).expect("deleted")),
        "allow" => found(&session, label()).for_each(|key| {
            session.update_attributes(key, &[Attribute::Decrypt(is("decrypt"))]).expect("changed");
        }),
        "change pin" => {
            let new = AuthPin::from(deed["pin"].as_str().expect("a PIN"));
            session.set_pin(&AuthPin::from(PIN), &new).expect("changed");
        }
        other => panic!("no such deed: {other}"),
    }
}

fn found(session: &Session, label: Attribute) -> impl Iterator<Item = cryptoki::object::ObjectHandle> {
    let keys = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY), label]).expect("keys");
    assert!(!keys.is_empty(), "no such key");
    keys.into_iter()
}

fn make(session: &Session, deed: &Value, label: Attribute) {
    let is = |name: &str| deed[name].as_bool().expect("yes or no");
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Id(vec![u8::try_from(deed["id"].as_u64().expect("a number")).expect("a byte")]),
        label,
        Attribute::Private(is("private")),
        Attribute::Sensitive(is("sensitive")),
        Attribute::Extractable(is("extractable")),
        Attribute::Encrypt(is("encrypt")),
        Attribute::Decrypt(is("decrypt")),
    ];
    match deed["bytes"].as_array() {
        Some(bytes) => {
            let bytes = bytes.iter().map(|byte| u8::try_from(byte.as_u64().expect("a number")).expect("a byte"));
            template.push(Attribute::Value(bytes.collect()));
            session.create_object(&template).expect("a key");
        }
        None => {
            template.push(Attribute::ValueLen(deed["length"].as_u64().expect("a length").into()));
            session.generate_key(&Mechanism::AesKeyGen, &template).expect("a key");
        }
    }
}
