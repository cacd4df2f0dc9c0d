//! The same text read and written by others: the crates `signed_note` and `tlog_tiles`, the Go package `sumdb/note`, the
//! specification, and a log in service.

use signed_note::{Note as TheirNote, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::checkpoint::Checkpoint;

use super::*;

fn theirs(key: &VerifierKey) -> VerifierList {
    VerifierList::new(vec![Box::new(StandardVerifier::new(&key.to_string()).unwrap())])
}

#[test]
fn our_checkpoint_verifies_with_another_implementation() {
    let signer = CheckpointSigner::generate(ORIGIN).unwrap();
    let text = signer.sign(head());
    let note = TheirNote::from_bytes(text.as_bytes()).unwrap();
    let (verified, unverified) = note.verify(&theirs(signer.verifier_key())).unwrap();
    assert_eq!((verified.len(), unverified.len(), verified[0].name()), (1, 0, ORIGIN));
    let body = Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!((body.origin(), body.size(), &body.hash().0), (ORIGIN, head().size(), head().root()));

    // It is the signature that convinces them.
    for changed in [text.replace("20852163", "20852164"), text.replace(ORIGIN, "clinic.example/other")] {
        let note = TheirNote::from_bytes(changed.as_bytes()).unwrap();
        assert!(note.verify(&theirs(signer.verifier_key())).is_err());
    }
}

#[test]
fn a_checkpoint_of_another_implementation_verifies_with_ours() {
    let ours = CheckpointSigner::generate(ORIGIN).unwrap();
    // Their signer from our private key's text: Ed25519 has one signature, so the notes are the same bytes.
    let signer = StandardSigner::new(ours.encode().expose_secret()).unwrap();
    let hash = tlog_tiles::tlog::Hash(*head().root());
    let body = Checkpoint::new(ORIGIN, head().size(), hash, "").unwrap();
    let mut note = TheirNote::new(&body.to_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let text = note.to_bytes();
    assert_eq!(text, ours.sign(head()).into_bytes());
    let verifier = CheckpointVerifier::new(ours.verifier_key().clone()).unwrap();
    assert_eq!(verifier.verify(&text).unwrap().head(), head());
}

#[test]
fn the_note_of_the_go_package_is_read_and_its_signature_holds() {
    const POEM: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n\
                        \n\
                        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
    let note = Note::parse(POEM.as_bytes()).unwrap();
    let [line] = &note.signatures[..] else { panic!("{note:?}") };
    assert_eq!((line.name, line.id), (key.name(), key.id()));
    assert!(key.holds(note.text.as_bytes(), &line.signature));
    assert!(!key.holds(&note.text.as_bytes()[1..], &line.signature));
    // A note, and no checkpoint.
    assert_eq!(CheckpointVerifier::new(key).unwrap().verify(POEM), Err(CheckpointError::Size));
}

#[test]
fn the_examples_of_the_specifications_are_read_and_printed_as_they_are() {
    const NOTE: &str = "Ognuno sta solo sul cuor della terra\n\
                        trafitto da un raggio di sole:\n\
                        \n\
                        ed è subito sera.\n\
                        \n\
                        — quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
    const CHECKPOINT: &str = "example.com/behind-the-sofa\n\
                              20852163\n\
                              CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
                              \n\
                              — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
                              — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    // The poem has a blank line of its own: the text ends at the last one.
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert!(note.text.ends_with("ed è subito sera.\n"));
    assert_eq!(format!("{}\n{}\n", note.text, note.signatures[0]), NOTE);
    let theirs = TheirNote::from_bytes(NOTE.as_bytes()).unwrap();
    assert_eq!(theirs.text(), note.text.as_bytes());

    assert_eq!(fuzz_checkpoint(CHECKPOINT.as_bytes()).as_deref(), Some(CHECKPOINT));
    let note = Note::parse(CHECKPOINT.as_bytes()).unwrap();
    let (origin, head) = note::read_body(note.text).unwrap();
    assert_eq!(
        (origin, head.size(), head.root()[..2].to_vec()),
        ("example.com/behind-the-sofa", 20_852_163, vec![0x0a, 0xc5])
    );
    let lengths: Vec<_> = note.signatures.iter().map(|line| (line.name, line.signature.len())).collect();
    assert_eq!(lengths, [("example.com/behind-the-sofa", 64), ("witness.example.com/w1", 72)]);
    // The specification does not say its keys, so there is nobody whom this convinces.
    let stranger = signer("example.com/behind-the-sofa", 1);
    let verifier = CheckpointVerifier::new(stranger.verifier_key().clone()).unwrap();
    assert_eq!(verifier.verify(CHECKPOINT), Err(CheckpointError::Unsigned));
}

/// A log and eight witnesses in service, run by seven parties with other software than ours.
#[test]
fn a_checkpoint_of_a_log_in_service_verifies_with_its_eight_witnesses() {
    let note = include_str!("../../../../tests/vectors/checkpoint/sigsum.note");
    let keys = include_str!("../../../../tests/vectors/checkpoint/sigsum.keys");
    let keys: Vec<VerifierKey> = keys.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(keys.len(), 9);
    let log = CheckpointVerifier::new(keys[0].clone()).unwrap();
    let verifier = keys[1..].iter().fold(log, |verifier, key| verifier.add_witness(key.clone()).unwrap());
    let verifier = verifier.with_quorum(8).unwrap();
    let signed = verifier.verify(note).unwrap();
    assert_eq!((signed.head().size(), signed.cosignatures().len()), (381_382, 8));
    assert!(signed.cosignatures().iter().all(|c| c.time().to_string() == "2026-02-04T08:17:31Z"));
    assert_eq!(fuzz_checkpoint(note.as_bytes()).as_deref(), Some(note));

    // Each of the nine is looked at: a bit of any signature, or of what is signed, and nothing is believed.
    let body = note.rfind("\n\n").unwrap() + 2;
    let lines: Vec<&str> = note[body..].lines().collect();
    for (at, signed_line) in lines.iter().enumerate() {
        let (head, base64) = signed_line.rsplit_once(' ').unwrap();
        let mut bytes = BASE64.decode(base64.as_bytes()).unwrap();
        for byte in 4..bytes.len() {
            bytes[byte] ^= 0x20;
            let changed = note.replace(signed_line, &format!("{head} {}", BASE64.encode(&bytes)));
            assert_eq!(verifier.verify(changed), Err(CheckpointError::BadSignature), "line {at}, byte {byte}");
            bytes[byte] ^= 0x20;
        }
    }
    assert_eq!(verifier.verify(note.replace("381382", "381383")), Err(CheckpointError::BadSignature));
}
