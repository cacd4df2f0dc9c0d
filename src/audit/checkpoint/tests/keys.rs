//! Keys as text.

use super::*;
use CheckpointKeyError as E;

/// Keys that other implementations have in their tests: private, public. (`sumdb/note` of Go, `transparency-dev/formats`.)
const PAIRS: [(&str, &str); 4] = [
    (
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ),
    (
        "PRIVATE+KEY+Wit1+55ee4561+AeadRiG7XM4XiieCHzD8lxysXMwcViy5nYsoXURWGrlE",
        "Wit1+55ee4561+AVhZSmQj9+SoL+p/nN0Hh76xXmF7QcHfytUrI1XfSClk",
    ),
    (
        "PRIVATE+KEY+Wit2+85ecc407+AfPTvxw5eUcqSgivo2vaiC7JPOMUZ/9baHPSDrWqgdGm",
        "Wit2+85ecc407+AWVbwFJte9wMQIPSnEnj4KibeO6vSIOEDUTDp3o63c2x",
    ),
    (
        "PRIVATE+KEY+Wit3+d3ed3be7+AR2Kg8k6ccBr5QXz5SHtnkOS4UGQGEQaWi6Gfr6Mm3X5",
        "Wit3+d3ed3be7+ASb6Uz1+fxAcXkMvDd7nGa3FjDce7LxIKmbbTCT0MpVn",
    ),
];

/// A witness in service.
const WITNESS: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";

#[test]
fn the_keys_of_others_are_read_and_printed_as_they_are() {
    for (private, public) in PAIRS {
        let signer = CheckpointSigner::decode(&SecretString::from(private)).unwrap();
        assert_eq!(signer.verifier_key().to_string(), public);
        assert_eq!(signer.encode().expose_secret(), private);
        assert_eq!(public.parse::<VerifierKey>().unwrap(), *signer.verifier_key());
    }
    let witness: VerifierKey = WITNESS.parse().unwrap();
    assert!(witness.is_witness());
    assert_eq!(
        (witness.name(), witness.id(), witness.to_string().as_str()),
        ("remora.n621.de", [0xda, 0x77, 0xad, 0xe7], WITNESS)
    );
}

#[test]
fn a_generated_key_is_its_own() {
    let [one, two] = [(); 2].map(|()| CheckpointSigner::generate(ORIGIN).unwrap());
    assert_ne!(one.verifier_key(), two.verifier_key());
    let again = CheckpointSigner::decode(&one.encode()).unwrap();
    assert_eq!(again.verifier_key(), one.verifier_key());
    assert_eq!(again.sign(head()), one.sign(head()));
}

/// The text of a key with the id that belongs to it.
fn public(name: &str, bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let id = Sha256::new().chain_update(name).chain_update(b"\n").chain_update(bytes).finalize();
    format!("{name}+{}+{}", data_encoding::HEXLOWER.encode(&id[..4]), BASE64.encode(bytes))
}

#[test]
fn public_keys_of_another_form_are_refused() {
    let good = PAIRS[0].1;
    let bytes = |alg: u8, length: usize| [&[alg][..], &vec![7; length]].concat();
    assert!(public("x", &bytes(1, 32)).parse::<VerifierKey>().is_ok());
    let long = "n".repeat(256);
    for (name, text, error) in [
        ("nothing", String::new(), E::Form),
        ("a name alone", "PeterNeumann".to_owned(), E::Form),
        ("a name and an id", "PeterNeumann+c74f20a3".to_owned(), E::Form),
        ("a private key", PAIRS[0].0.to_owned(), E::Private),
        ("no name", public("", &bytes(1, 32)), E::Name),
        ("a space in the name", public("Peter Neumann", &bytes(1, 32)), E::Name),
        ("a no-break space in the name", public("Peter\u{a0}Neumann", &bytes(1, 32)), E::Name),
        ("a letter that looks like another", public("p\u{435}ter", &bytes(1, 32)), E::Name),
        ("a newline in the name", public("Peter\nNeumann", &bytes(1, 32)), E::Name),
        ("a name of 256 bytes", public(&long, &bytes(1, 32)), E::Name),
        ("another name", good.replace("Peter", "Petra"), E::Id),
        ("another id", good.replace("c74f20a3", "c74f20a4"), E::Id),
        ("an id in capitals", good.replace("c74f20a3", "C74F20A3"), E::Id),
        ("a short id", good.replace("c74f20a3", "c74f20"), E::Id),
        ("the id of the other algorithm", good.replace("ARpc", "BBpc"), E::Id),
        ("ECDSA", public("x", &bytes(2, 32)), E::Algorithm),
        ("a tree head of RFC 6962", public("x", &bytes(5, 32)), E::Algorithm),
        ("ML-DSA", public("x", &bytes(6, 1_312)), E::Encoding),
        ("31 bytes", public("x", &bytes(1, 31)), E::Encoding),
        ("33 bytes", public("x", &bytes(1, 33)), E::Encoding),
        ("no padding is lost", good[..good.len() - 1].to_owned(), E::Encoding),
        ("base64url", good.replace('/', "_"), E::Encoding),
        ("a newline behind", format!("{good}\n"), E::Encoding),
        ("a space before", format!(" {good}"), E::Name),
        ("a byte changed", good.replace("ARpc", "ARpd"), E::Id),
    ] {
        assert_eq!(text.parse::<VerifierKey>(), Err(error), "{name}");
    }
}

#[test]
fn private_keys_of_another_form_are_refused() {
    let good = PAIRS[0].0;
    let scheme = public("https://clinic.example", &[1; 33]);
    for (name, text, error) in [
        ("nothing", String::new(), E::Form),
        ("a public key", PAIRS[0].1.to_owned(), E::Form),
        ("in small letters", good.to_lowercase(), E::Form),
        ("no id", "PRIVATE+KEY+PeterNeumann".to_owned(), E::Form),
        ("another name", good.replace("Peter", "Petra"), E::Id),
        ("another id", good.replace("c74f20a3", "c74f20a4"), E::Id),
        ("another key", good.replace("AYEK", "AYEL"), E::Id),
        ("a witness's", good.replace("AYEK", "BIEK"), E::Algorithm),
        ("a newline behind", format!("{good}\n"), E::Encoding),
        ("cut off", good[..good.len() - 4].to_owned(), E::Encoding),
        ("all zeros", format!("PRIVATE+KEY+{}", public("x", &[&[1][..], &[0; 32]].concat())), E::Weak),
        ("a scheme", format!("PRIVATE+KEY+{scheme}"), E::Scheme),
    ] {
        let refused = CheckpointSigner::decode(&SecretString::from(text));
        assert_eq!(refused.unwrap_err(), error, "{name}");
    }
    for (name, error) in [
        ("", E::Name),
        ("a clinic", E::Name),
        ("a+clinic", E::Name),
        ("clinic\u{e9}", E::Name),
        ("https://clinic.example/ledger", E::Scheme),
    ] {
        assert_eq!(CheckpointSigner::generate(name).unwrap_err(), error, "`{name}`");
    }
}

/// Under the key 1, the neutral point, this signature holds over whatever there is.
#[test]
fn a_key_under_which_anybody_can_sign_is_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let anybodys = [&neutral[..], &[0; 32]].concat();
    let key = VerifierKey::new(ORIGIN, Kind::Log, neutral);
    assert!(key.holds(b"this", &anybodys) && key.holds(b"that", &anybodys), "what this test is for");

    let mut ends = vec![neutral, [0; 32]];
    for low in [0xec, 0xed, 0xee] {
        let mut end = [0xff; 32];
        (end[0], end[31]) = (low, 0x7f);
        ends.push(end);
    }
    for text in [
        b"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        b"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ] {
        ends.push(data_encoding::HEXLOWER.decode(text).unwrap().try_into().unwrap());
    }
    for end in ends {
        for sign in [0, 0x80] {
            for alg in [1, 4] {
                let mut bytes = [&[alg][..], &end].concat();
                bytes[32] |= sign;
                assert_eq!(public(ORIGIN, &bytes).parse::<VerifierKey>(), Err(E::Weak), "{bytes:02x?}");
            }
        }
    }
}
