//! Every way to say something else with a checkpoint.

use super::*;
use CheckpointError as E;

struct Scene {
    log: CheckpointSigner,
    old: CheckpointSigner,
    known: Witness,
    verifier: CheckpointVerifier,
    /// Signed by the log, cosigned by a known witness and by one that is not.
    note: String,
}

fn scene() -> Scene {
    let (log, old) = (signer(ORIGIN, 1), signer(ORIGIN, 2));
    let (known, stranger) = (Witness::new("w1.example", 10), Witness::new("w2.example", 11));
    let verifier = CheckpointVerifier::new(log.verifier_key().clone()).unwrap();
    let verifier = verifier.add_old_key(old.verifier_key().clone()).unwrap();
    let verifier = verifier.add_witness(known.key()).unwrap().with_quorum(1).unwrap();
    let note = log.sign(head());
    let note = note.clone() + &known.cosign(&note, 1_679_315_147) + &stranger.cosign(&note, 5);
    Scene { log, old, known, verifier, note }
}

/// A note with this text, signed by the log as if it had meant it, and cosigned.
fn signed(scene: &Scene, text: &str) -> String {
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed(1)).unwrap();
    let signature = pair.sign(text.as_bytes());
    let note = format!("{text}\n{}", line(ORIGIN, &[&scene.log.verifier_key().id()[..], signature.as_ref()].concat()));
    note.clone() + &scene.known.cosign(&note, 5)
}

#[test]
fn each_of_these_is_refused() {
    let scene = scene();
    let Scene { log, old, known, note, .. } = &scene;
    assert!(scene.verifier.verify(note).is_ok());
    let text = &note[..=note.rfind("\n\n").unwrap()];
    let lines: Vec<String> = note[text.len() + 1..].lines().map(|line| format!("{line}\n")).collect();
    let [by_log, by_known, by_stranger] = &lines[..] else { panic!("{lines:?}") };
    let (root, id) = (BASE64.encode(head().root()), log.verifier_key().id());
    let other = Head::new(7, [3; 32]);
    let other_lines = |signer: &CheckpointSigner| {
        let note = signer.sign(other);
        note[note.rfind("\n\n").unwrap() + 2..].to_owned()
    };
    let signature = BASE64.decode(by_log.trim_end().rsplit(' ').next().unwrap().as_bytes()).unwrap();
    let cosignature = BASE64.decode(by_known.trim_end().rsplit(' ').next().unwrap().as_bytes()).unwrap();
    // s + L in place of s: the same signature to who does not look (RFC 8032 §5.1.7).
    let mut malleable = signature.clone();
    let order =
        data_encoding::HEXLOWER.decode(b"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0_u16;
    for (byte, add) in malleable[36..].iter_mut().zip(&order) {
        carry += u16::from(*byte) + u16::from(*add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    let mut later = cosignature.clone();
    later[11] ^= 1;
    let cosigned_as_log = line(ORIGIN, &[&id[..], &cosignature[4..]].concat());
    let signed_as_witness = line(known.name, &[&known.key().id()[..], &signature[4..]].concat());
    let rogue = Witness::new("w1.example", 99);
    let forged = line(
        known.name,
        &[
            &known.key().id()[..],
            &BASE64.decode(rogue.cosign(note, 5).trim_end().rsplit(' ').next().unwrap().as_bytes()).unwrap()[4..],
        ]
        .concat(),
    );
    let rows: Vec<(&str, Vec<u8>, E)> = vec![
        // The form of the note.
        ("nothing", String::new().into(), E::Signatures),
        ("a newline", "\n".into(), E::Signatures),
        ("the text alone", text.into(), E::Signatures),
        ("no blank line", note.replacen("\n\n", "\n", 1).into(), E::Signatures),
        ("a blank line and no signature", format!("{text}\n").into(), E::Signatures),
        ("no newline at the end", note.trim_end().into(), E::Signatures),
        ("a blank line at the end", format!("{note}\n").into(), E::Signatures),
        ("words behind the end", format!("{note}and so on\n").into(), E::SignatureLine),
        ("not UTF-8", [note.as_bytes(), b"\xff\n"].concat(), E::NotText),
        ("an overlong dash", [text.as_bytes(), b"\n\xf0\x82\x80\x94 ", &by_log.as_bytes()[4..]].concat(), E::NotText),
        ("carriage returns", note.replace('\n', "\r\n").into(), E::NotText),
        ("a tab in the origin", note.replacen('/', "\t", 1).into(), E::NotText),
        ("a NUL", note.replacen('/', "\0", 1).into(), E::NotText),
        ("an escape", note.replacen(ORIGIN, "clinic\u{1b}[2K", 1).into(), E::NotText),
        ("a delete", note.replacen(ORIGIN, "clinic\u{7f}", 1).into(), E::NotText),
        ("a control of the upper half", note.replacen(ORIGIN, "clinic\u{9b}", 1).into(), E::NotText),
        ("a byte order mark", format!("\u{feff}{note}").into(), E::OtherLog),
        ("too long", (note.clone() + &"x".repeat(MAX_CHECKPOINT)).into(), E::TooLong),
        (
            "65 signatures",
            (note.clone() + &(0..62).map(|n| line(&format!("w{n}.x"), &[n; 40])).collect::<String>()).into(),
            E::TooManySignatures,
        ),
        // The text.
        ("an empty origin", signed(&scene, &text.replacen(ORIGIN, "", 1)).into(), E::Origin),
        ("another origin, signed", signed(&scene, &text.replacen("clinic", "c1inic", 1)).into(), E::OtherLog),
        (
            "an origin with a space behind",
            signed(&scene, &text.replacen(ORIGIN, &format!("{ORIGIN} "), 1)).into(),
            E::OtherLog,
        ),
        ("an origin in capitals", signed(&scene, &text.replacen("clinic", "Clinic", 1)).into(), E::OtherLog),
        ("another log's checkpoint, signed by it", signer("x.example", 5).sign(head()).into(), E::OtherLog),
        ("no size", signed(&scene, &format!("{ORIGIN}\n")).into(), E::Size),
        ("an empty size", signed(&scene, &text.replace("20852163", "")).into(), E::Size),
        ("a leading zero", signed(&scene, &text.replace("20852163", "020852163")).into(), E::Size),
        ("two zeros", signed(&scene, &text.replace("20852163", "00")).into(), E::Size),
        ("a sign", signed(&scene, &text.replace("20852163", "+20852163")).into(), E::Size),
        ("a negative size", signed(&scene, &text.replace("20852163", "-1")).into(), E::Size),
        ("a size in hex", signed(&scene, &text.replace("20852163", "0x13e2dc3")).into(), E::Size),
        ("a size in other digits", signed(&scene, &text.replace("20852163", "\u{662}")).into(), E::Size),
        ("a size beyond 64 bits", signed(&scene, &text.replace("20852163", "18446744073709551616")).into(), E::Size),
        ("a size with a space behind", signed(&scene, &text.replace("20852163", "20852163 ")).into(), E::Size),
        ("no root", signed(&scene, &format!("{ORIGIN}\n20852163\n")).into(), E::Root),
        ("a root in hex", signed(&scene, &text.replace(&root, &"ab".repeat(32))).into(), E::Root),
        ("a root of 31 bytes", signed(&scene, &text.replace(&root, &BASE64.encode(&[1; 31]))).into(), E::Root),
        ("a root of 33 bytes", signed(&scene, &text.replace(&root, &BASE64.encode(&[1; 33]))).into(), E::Root),
        ("a root without padding", signed(&scene, &text.replace('=', "")).into(), E::Root),
        (
            "a root with a bit behind",
            signed(&scene, &text.replace(&root, &format!("{}B=", &BASE64.encode(&[0; 32])[..42]))).into(),
            E::Root,
        ),
        ("an empty ledger with another root", signed(&scene, &text.replace("20852163", "0")).into(), E::Root),
        ("an extension line", signed(&scene, &format!("{text}and patient 7\n")).into(), E::Extension),
        ("a signature line in the text", signed(&scene, &format!("{text}{by_log}")).into(), E::Extension),
        ("a blank line in the text", signed(&scene, &format!("{text}\nmore\n")).into(), E::Extension),
        // The signatures.
        ("a size changed", note.replace("20852163", "20852164").into(), E::BadSignature),
        ("the signature over another head", format!("{text}\n{}{by_known}", other_lines(log)).into(), E::BadSignature),
        (
            "an old key's signature over another head, beside a good one",
            format!("{note}{}", other_lines(old)).into(),
            E::BadSignature,
        ),
        ("no signature of the log", format!("{text}\n{by_known}{by_stranger}").into(), E::Unsigned),
        (
            "a stranger's signature under the log's name",
            format!("{text}\n{}{by_known}", line(ORIGIN, &[&[1, 2, 3, 4], &signature[4..]].concat())).into(),
            E::Unsigned,
        ),
        (
            "the log's signature under a stranger's name",
            format!("{text}\n{}{by_known}", line("x.example", &signature)).into(),
            E::Unsigned,
        ),
        ("the log's signature twice", format!("{note}{by_log}").into(), E::Duplicate),
        ("the log's signature, good and bad", format!("{note}{}", other_lines(log)).into(), E::Duplicate),
        ("a witness's cosignature twice", format!("{note}{by_known}").into(), E::Duplicate),
        ("a witness's second time", format!("{note}{}", known.cosign(note, 6)).into(), E::Duplicate),
        ("a stranger's twice", format!("{note}{by_stranger}").into(), E::Duplicate),
        ("a malleable signature", format!("{text}\n{}{by_known}", line(ORIGIN, &malleable)).into(), E::BadSignature),
        (
            "a signature cut short",
            format!("{text}\n{}{by_known}", line(ORIGIN, &signature[..67])).into(),
            E::BadSignature,
        ),
        (
            "a signature with a byte behind",
            format!("{text}\n{}{by_known}", line(ORIGIN, &[&signature[..], &[0]].concat())).into(),
            E::BadSignature,
        ),
        (
            "a signature of zeros",
            format!("{text}\n{}{by_known}", line(ORIGIN, &[&id[..], &[0; 64]].concat())).into(),
            E::BadSignature,
        ),
        ("an id and nothing", format!("{text}\n{}", line(ORIGIN, &id)).into(), E::SignatureLine),
        ("a cosignature in the log's name", format!("{text}\n{cosigned_as_log}{by_known}").into(), E::BadSignature),
        ("a signature in the witness's name", format!("{text}\n{by_log}{signed_as_witness}").into(), E::BadSignature),
        (
            "a cosignature at another time",
            format!("{text}\n{by_log}{}", line(known.name, &later)).into(),
            E::BadSignature,
        ),
        (
            "a cosignature of another head",
            format!("{text}\n{by_log}{}", known.cosign(&log.sign(other), 5)).into(),
            E::BadSignature,
        ),
        ("a cosignature by another key", format!("{text}\n{by_log}{forged}").into(), E::BadSignature),
        (
            "a cosignature without its time",
            format!("{text}\n{by_log}{}", line(known.name, &[&cosignature[..4], &cosignature[12..]].concat())).into(),
            E::BadSignature,
        ),
        (
            "a cosignature of four bytes",
            format!("{text}\n{by_log}{}", line(known.name, &cosignature[..8])).into(),
            E::BadSignature,
        ),
        ("no cosignature", format!("{text}\n{by_log}").into(), E::Quorum { have: 0, need: 1 }),
        (
            "a stranger's cosignature alone",
            format!("{text}\n{by_log}{by_stranger}").into(),
            E::Quorum { have: 0, need: 1 },
        ),
        // The lines of the signatures.
        ("a hyphen for the dash", note.replace('\u{2014}', "-").into(), E::SignatureLine),
        ("an en dash", note.replace('\u{2014}', "\u{2013}").into(), E::SignatureLine),
        ("no space after the dash", note.replacen("\u{2014} ", "\u{2014}", 1).into(), E::SignatureLine),
        ("two spaces after the dash", note.replacen("\u{2014} ", "\u{2014}  ", 1).into(), E::SignatureLine),
        (
            "two spaces before the signature",
            note.replacen(&format!("\u{2014} {ORIGIN} "), &format!("\u{2014} {ORIGIN}  "), 1).into(),
            E::SignatureLine,
        ),
        (
            "a space behind the signature",
            format!("{} \n{by_known}", note[..text.len() + by_log.len()].to_owned()).into(),
            E::SignatureLine,
        ),
        ("a name with a plus", format!("{note}{}", line("a+b", &[1; 68])).into(), E::SignatureLine),
        ("a name with a no-break space", format!("{note}{}", line("a\u{a0}b", &[1; 68])).into(), E::SignatureLine),
        (
            "a signature in base64url",
            format!("{note}\u{2014} x.example {}\n", data_encoding::BASE64URL.encode(&[0xff; 68])).into(),
            E::SignatureLine,
        ),
        (
            "a signature without padding",
            format!("{note}\u{2014} x.example {}\n", data_encoding::BASE64_NOPAD.encode(&[1; 68])).into(),
            E::SignatureLine,
        ),
        // Found by the fuzzer: the decoder takes texts one behind the other.
        (
            "a signature with padding in the middle",
            format!("{note}\u{2014} x.example AAAAAAA=AAA=\n").into(),
            E::SignatureLine,
        ),
        ("a signature with a bit behind", format!("{note}\u{2014} x.example AAAAAAB=\n").into(), E::SignatureLine),
    ];
    assert!(rows.len() >= 70, "{}", rows.len());
    for (name, bytes, error) in rows {
        assert_eq!(scene.verifier.verify(&bytes), Err(error), "{name}: {}", String::from_utf8_lossy(&bytes));
    }
}

/// What is not known is not looked at, and does not get in the way.
#[test]
fn each_of_these_is_accepted() {
    let scene = scene();
    let Scene { log, old, known, note, .. } = &scene;
    let plain = log.sign(head());
    let text = &plain[..=plain.rfind("\n\n").unwrap()];
    let by_old = old.sign(head())[text.len() + 1..].to_owned();
    for (name, note) in [
        ("as it is", note.clone()),
        ("the witness first", format!("{text}\n{}{}", known.cosign(&plain, 9), &plain[text.len() + 1..])),
        ("an old key's as well", format!("{note}{by_old}")),
        ("an old key's alone", format!("{text}\n{by_old}{}", known.cosign(&plain, 9))),
        ("a stranger's in the log's name", format!("{note}{}", line(ORIGIN, &[7; 68]))),
        (
            "a stranger's with the log's id",
            format!("{note}{}", line("x.example", &[&log.verifier_key().id()[..], &[7; 64]].concat())),
        ),
        ("a stranger's of one byte", format!("{note}{}", line("x.example", &[1, 2, 3, 4, 5]))),
        ("one of 5,000 bytes, as of other algorithms", format!("{note}{}", line("x.example", &[7; 5_000]))),
        ("a name in another script", format!("{note}{}", line("診療所.example", &[7; 68]))),
        ("61 strangers", (0..61).fold(note.clone(), |note, n| note + &line(&format!("w{n}.x"), &[n; 40]))),
    ] {
        let checkpoint = scene.verifier.verify(&note).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((checkpoint.head(), checkpoint.cosignatures().len()), (head(), 1), "{name}");
        assert_eq!(fuzz_checkpoint(note.as_bytes()), Some(note), "{name}");
    }
}

/// No bit of what is signed, and none of a known signature, can be changed.
#[test]
fn no_bit_of_a_checkpoint_can_be_changed() {
    let log = signer(ORIGIN, 1);
    let verifier = CheckpointVerifier::new(log.verifier_key().clone()).unwrap();
    let note = log.sign(head()).into_bytes();
    for bit in 0..note.len() * 8 {
        let mut changed = note.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(verifier.verify(&changed).is_err(), "bit {bit}: {}", String::from_utf8_lossy(&changed));
        // What can still be read is read as it stands.
        assert!(fuzz_checkpoint(&changed).is_none_or(|printed| printed.as_bytes() == changed), "bit {bit}");
    }
    for length in 0..note.len() {
        assert!(verifier.verify(&note[..length]).is_err(), "cut at {length}");
    }
}
