//! The types that hold a secret or something of a person, found in the source by the types of their fields, and how each
//! of them prints. A new one is in no list, and so fails here until somebody has looked at what it prints.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{attribute, end_of_item, is_test_only, is_word, sources};

/// What a field's type is called that is a secret, a key, a person's datum, or holds one of them at once.
const WORDS: &[&str] = &[
    // Secrets as such.
    "Secret",
    "SecretBox",
    "SecretString",
    "Zeroizing",
    "Candidate",
    "BearerToken",
    "TokenSource",
    // Keys.
    "Aead",
    "Aes256Gcm",
    "Authority",
    "Cipher",
    "DecodingKey",
    "Ed25519KeyPair",
    "EncodingKey",
    "Hmac",
    "IndexMac",
    "KeyBytes",
    "Keyring",
    "LessSafeKey",
    "Mac",
    "Parent",
    "RootKey",
    "SealKey",
    "SigningKey",
    "SubjectKey",
    "TenantKey",
    "WideAead",
    "Xaes256Gcm",
    // Data.
    "Phi",
    "Plaintext",
];

/// Of these, the ones whose own `Debug` prints what they hold.
const LOUD: &[&str] = &["Zeroizing"];

/// How a type prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Prints {
    /// Not at all: no `Debug`, no `Display`, no `Serialize`.
    Nothing,
    /// What its fields print, each of which is in this table or harmless.
    Fields,
    /// By an `impl` of its own.
    ByHand,
}
use Prints::{ByHand, Fields, Nothing};

/// Each type that holds one of [`WORDS`], in the order of the files. `crate::canary` shows the public ones that print.
pub(crate) const HOLDERS: &[(&str, &str, Prints)] = &[
    ("access/cohort.rs", "Scope", ByHand),
    ("access/grant.rs", "ClinicGrant", ByHand),
    ("access/grant.rs", "Doors", Fields),
    ("access/grant/opener.rs", "Owner", Fields),
    ("access/grant/opener.rs", "SealKey", Nothing),
    ("access/grant/opener.rs", "Sealing", Nothing),
    ("access/grant.rs", "SubjectGrant", ByHand),
    ("access/job.rs", "Inner", Fields),
    ("audit/checkpoint/signer.rs", "CheckpointSigner", ByHand),
    ("db/change.rs", "Door", Nothing),
    ("db/postgres/relations.rs", "PostgresRelations", Fields),
    ("db/postgres/request.rs", "Signer", ByHand),
    ("db/postgres/tx.rs", "PostgresTx", Fields),
    ("db/rotation/log.rs", "RotationLog", Fields),
    ("db/rotation/mod.rs", "Inner", Fields),
    ("db/sqlite/relations.rs", "SqliteRelations", Fields),
    ("db/sqlite/tx.rs", "TenantTx", Fields),
    ("field/diff/open.rs", "CommitmentKey", ByHand),
    ("field/diff/open.rs", "RowDiff", ByHand),
    ("field/diff/open.rs", "Told", Fields),
    ("field/diff/seal.rs", "Cell", Nothing),
    ("field/format.rs", "Cipher", Nothing),
    ("identity/account.rs", "NewAccount", Fields),
    ("identity/facade.rs", "Tokens", Fields),
    ("identity/lockout.rs", "Lockout", ByHand),
    ("identity/password.rs", "Candidate", Nothing),
    ("identity/session.rs", "Sessions", Nothing),
    ("identity/signing_key.rs", "SigningKey", Nothing),
    ("identity/token.rs", "Issuer", Nothing),
    ("identity/warm.rs", "Token", Nothing),
    ("keys/in_place.rs", "AwsLc", Nothing),
    ("keys/key.rs", "EpochKey", Nothing),
    ("keys/index_mac.rs", "IndexMac", Nothing),
    ("keys/ledger_key.rs", "LedgerKey", Nothing),
    ("keys/key.rs", "SubjectKey", ByHand),
    ("keys/key.rs", "TenantKey", ByHand),
    ("keys/keyring/mod.rs", "Inner", Nothing),
    ("keys/keyring/platform.rs", "Platform", Nothing),
    ("keys/keyring/tenant.rs", "Tenant", Nothing),
    ("keys/record.rs", "Authority", Nothing),
    ("keys/record.rs", "Parent", Nothing),
    ("keys/provider/transit.rs", "TransitProvider", ByHand),
    ("keys/provider/transit/answer.rs", "Question", Nothing),
    ("keys/provider/transit/exchange.rs", "Answer", Nothing),
    ("keys/provider/transit/token.rs", "TokenSource", Nothing),
    ("keys/provider/transit/token.rs", "Wiped", Nothing),
    ("keys/provider/pkcs11/token.rs", "Token", Nothing),
    ("keys/root.rs", "RootKey", ByHand),
    ("privacy/erasure.rs", "Inner", Fields),
    ("stack/builder.rs", "Parts", Fields),
];

/// What no field's type gives away: bytes, generic values, and types that hold one of [`HOLDERS`].
pub(crate) const OTHERS: &[(&str, &str, Prints)] = &[
    ("access/cohort.rs", "Cohort", Fields),
    ("access/grant.rs", "Grant", ByHand),
    ("access/job.rs", "JobGrant", Fields),
    ("access/job.rs", "Jobs", Fields),
    ("audit/record/event.rs", "Purpose", ByHand),
    ("field/blind_index.rs", "BlindIndex", ByHand),
    ("field/diff/open.rs", "Edit", Fields),
    ("field/encrypted.rs", "Encrypted", ByHand),
    ("field/encrypted.rs", "OpenError", ByHand),
    ("field/json.rs", "Json", ByHand),
    ("field/phi.rs", "Phi", ByHand),
    ("field/value.rs", "Encoder", ByHand),
    ("field/value.rs", "Plaintext", ByHand),
    ("identity/facade.rs", "Identity", ByHand),
    ("identity/password.rs", "Pool", ByHand),
    ("identity/principal.rs", "Principal", ByHand),
    ("identity/warm.rs", "Warm", ByHand),
    ("keys/keyring/mod.rs", "Keyring", ByHand),
    ("keys/provider/aws_kms.rs", "AwsKmsProvider", ByHand),
    ("keys/provider/transit/options.rs", "TransitOptions", ByHand),
    ("keys/provider/transit/token.rs", "BearerToken", Nothing),
    ("keys/provider/pkcs11.rs", "Pkcs11Provider", ByHand),
    ("rate_limit/forwarded.rs", "Peer", ByHand),
    ("rate_limit/layer.rs", "Connection", ByHand),
    ("store/mod.rs", "Entry", ByHand),
];

#[derive(Debug, Default)]
struct Found {
    /// From type to the words among its fields.
    types: BTreeMap<(String, String), Vec<String>>,
    /// From type to the traits of [`OUTPUTS`] that it has.
    derived: BTreeMap<(String, String), Vec<String>>,
    by_hand: BTreeMap<(String, String), Vec<String>>,
}

const OUTPUTS: &[&str] = &["Debug", "Display", "Serialize", "LowerHex", "UpperHex", "ToString"];

impl Found {
    fn read(&mut self, file: &str, tokens: TokenStream) {
        let trees: Vec<_> = tokens.into_iter().collect();
        let mut derives: Vec<String> = Vec::new();
        let mut i = 0;
        while i < trees.len() {
            if let Some(group) = attribute(&trees, i) {
                if is_test_only(group) {
                    i = end_of_item(&trees, i);
                    derives.clear();
                    continue;
                }
                // Also under `cfg_attr`.
                derives.extend(words(group.stream()).into_iter().filter(|word| OUTPUTS.contains(&word.as_str())));
                i += 2;
                continue;
            }
            match &trees[i] {
                TokenTree::Ident(word) if word == "struct" || word == "enum" => {
                    if let Some(TokenTree::Ident(name)) = trees.get(i + 1) {
                        let end = end_of_item(&trees, i);
                        let held: Vec<_> = trees[i + 2..end]
                            .iter()
                            .flat_map(|tree| words(TokenStream::from(tree.clone())))
                            .filter(|word| WORDS.contains(&word.as_str()))
                            .collect();
                        let key = (file.to_owned(), name.to_string());
                        if !held.is_empty() {
                            self.types.insert(key.clone(), held);
                        }
                        self.derived.insert(key, std::mem::take(&mut derives));
                        i = end;
                        continue;
                    }
                }
                TokenTree::Ident(word) if word == "impl" => self.implementation(file, &trees[i..]),
                // Functions, modules, the bodies of macros.
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    self.read(file, group.stream());
                    derives.clear();
                }
                TokenTree::Punct(p) if p.as_char() == ';' => derives.clear(),
                _ => {}
            }
            i += 1;
        }
    }

    /// `impl<…> path::Trait for Type<…>`.
    fn implementation(&mut self, file: &str, trees: &[TokenTree]) {
        let head: Vec<_> = trees
            .iter()
            .take_while(|tree| !matches!(tree, TokenTree::Group(g) if g.delimiter() == Delimiter::Brace))
            .collect();
        let Some(at) = head.iter().position(|tree| is_word(Some(tree), "for")) else { return };
        let name = |trees: &[&TokenTree]| {
            // The last word before any `<`, or before `for`.
            let path = trees.iter().take_while(|tree| !matches!(tree, TokenTree::Punct(p) if p.as_char() == '<'));
            path.filter_map(|tree| if let TokenTree::Ident(word) = tree { Some(word.to_string()) } else { None }).last()
        };
        let (Some(output), Some(of)) = (
            head[..at].iter().rev().find_map(|tree| match tree {
                TokenTree::Ident(word) if OUTPUTS.contains(&word.to_string().as_str()) => Some(word.to_string()),
                _ => None,
            }),
            name(&head[at + 1..]),
        ) else {
            return;
        };
        self.by_hand.entry((file.to_owned(), of)).or_default().push(output);
    }

    fn prints(&self, key: &(String, String)) -> Prints {
        if self.by_hand.contains_key(key) {
            return ByHand;
        }
        if self.derived.get(key).is_some_and(|derived| !derived.is_empty()) { Fields } else { Nothing }
    }
}

/// Every word, however deep.
fn words(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    for tree in tokens {
        match tree {
            TokenTree::Ident(word) => found.push(word.to_string()),
            TokenTree::Group(group) => found.extend(words(group.stream())),
            _ => {}
        }
    }
    found
}

fn found() -> Found {
    let mut found = Found::default();
    for source in sources() {
        found.read(source.file.trim_start_matches("src/"), source.tokens);
    }
    found
}

// proves CLM-04, CCA-10
#[test]
fn every_type_that_holds_a_secret_is_known_and_prints_as_it_is_known_to() {
    let found = found();
    let seen: Vec<(&str, &str, Prints)> =
        found.types.keys().map(|key| (key.0.as_str(), key.1.as_str(), found.prints(key))).collect();
    let new: Vec<_> = seen.iter().filter(|row| !HOLDERS.contains(row)).collect();
    let gone: Vec<_> = HOLDERS.iter().filter(|row| !seen.contains(row)).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "types that hold a secret, or print it in another way than was looked at:\n{new:#?}\nand in the table but not in the source:\n{gone:#?}\nLook at what each prints, and at `tests/it/canary.rs`."
    );
    for (file, name, prints) in OTHERS {
        let key = ((*file).to_owned(), (*name).to_owned());
        assert!(found.derived.contains_key(&key), "there is no {name} in {file}");
        assert_eq!(found.prints(&key), *prints, "{name} in {file}");
    }
    for (key, held) in &found.types {
        let derived = found.derived.get(key).map_or(&[][..], |derived| derived);
        let loud: Vec<_> = held.iter().filter(|word| LOUD.contains(&word.as_str())).collect();
        assert!(
            derived.is_empty() || loud.is_empty(),
            "{key:?} derives {derived:?} over {loud:?}, which print themselves"
        );
        let sent = derived.iter().any(|output| output != "Debug");
        assert!(!sent, "{key:?} derives {derived:?}");
        let by_hand = found.by_hand.get(key).map_or(&[][..], |by_hand| by_hand);
        assert!(by_hand.iter().all(|output| output == "Debug"), "{key:?} has {by_hand:?}");
    }
}

#[test]
fn planted_holders_are_found() {
    for (name, code, prints) in [
        ("a field", "struct A { a: Secret<[u8; 32]> }", Nothing),
        ("a field that prints", "#[derive(Debug)] struct A { a: SecretString }", Fields),
        ("among other traits", "#[derive(Clone, Debug)] pub(crate) struct A(pub SecretString);", Fields),
        ("with attributes between", "#[derive(Debug)] #[must_use] pub struct A { a: Phi<String> }", Fields),
        ("under a condition", "#[cfg_attr(feature = \"x\", derive(Debug))] struct A(RootKey);", Fields),
        ("deep in its type", "struct A { a: Option<Vec<Arc<SubjectKey>>> }", Nothing),
        ("a variant", "#[derive(Debug)] enum A { B { c: Zeroizing<u8> }, D }", Fields),
        ("by a path", "struct A { a: crate::secret::SecretString }", Nothing),
        ("in a function", "fn f() { #[derive(Debug)] struct A(Plaintext); }", Fields),
        ("in a module", "mod m { struct A(Plaintext); }", Nothing),
        ("in a macro", "pin_project! { pub struct A { a: Keyring } }", Nothing),
        ("by hand", "struct A(RootKey); impl fmt::Debug for A { }", ByHand),
        ("by hand, generic", "struct A<T: B>(Phi<T>); impl<T: B> std::fmt::Display for A<T> where T: C { }", ByHand),
        ("by hand, serialised", "struct A(RootKey); impl serde::Serialize for A { }", ByHand),
    ] {
        let mut found = Found::default();
        found.read("a.rs", code.parse().expect("Rust"));
        let key = ("a.rs".to_owned(), "A".to_owned());
        assert!(found.types.contains_key(&key), "{name}: {found:?}");
        assert_eq!(found.prints(&key), prints, "{name}: {found:?}");
    }
    let mut found = Found::default();
    found.read("a.rs", "struct A(String); #[cfg(test)] struct B(RootKey); fn f(a: RootKey) {}".parse().expect("Rust"));
    assert!(found.types.is_empty(), "{found:?}");
}
