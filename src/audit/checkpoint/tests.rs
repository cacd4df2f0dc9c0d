use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64;

use super::{key::Kind, note::Note, *};
use crate::secret::{ExposeSecret as _, Secret, SecretString};

mod attacks;
mod interop;
mod keys;

const ORIGIN: &str = "clinic.example/ledger";

fn seed(n: u8) -> [u8; 32] {
    let mut seed = [n.wrapping_mul(31); 32];
    seed.iter_mut().zip(0..).for_each(|(byte, at): (&mut u8, u8)| *byte = byte.wrapping_add(at));
    seed
}

fn signer(name: &str, n: u8) -> CheckpointSigner {
    CheckpointSigner::from_seed(name, Secret::new(Box::new(seed(n)))).unwrap()
}

fn head() -> Head {
    Head::new(20_852_163, *signer("example.com", 9).verifier_key().public())
}

/// A witness as the specification describes it, by the words of its text alone.
struct Witness {
    name: &'static str,
    pair: Ed25519KeyPair,
}

impl Witness {
    fn new(name: &'static str, n: u8) -> Self {
        Self { name, pair: Ed25519KeyPair::from_seed_unchecked(&seed(n)).unwrap() }
    }

    fn key(&self) -> VerifierKey {
        VerifierKey::new(self.name, Kind::Witness, self.pair.public_key().as_ref().try_into().unwrap())
    }

    fn cosign(&self, note: &str, time: u64) -> String {
        let text = &note[..=note.rfind("\n\n").unwrap()];
        let signature = self.pair.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        line(self.name, &[&self.key().id()[..], &time.to_be_bytes(), signature.as_ref()].concat())
    }
}

fn line(name: &str, bytes: &[u8]) -> String {
    format!("\u{2014} {name} {}\n", BASE64.encode(bytes))
}

#[test]
fn a_checkpoint_is_the_text_that_the_specification_shows() {
    let signer = signer(ORIGIN, 1);
    let (head, key) = (head(), signer.verifier_key());
    let note = signer.sign(head);
    let (text, signature) = note.split_once("\n\n").unwrap();
    assert_eq!(text, format!("{ORIGIN}\n20852163\n{}", BASE64.encode(head.root())));
    let signature = signature.strip_prefix(&format!("\u{2014} {ORIGIN} ")).unwrap().strip_suffix('\n').unwrap();
    let bytes = BASE64.decode(signature.as_bytes()).unwrap();
    assert_eq!((bytes.len(), &bytes[..4]), (68, &key.id()[..]));
    // Ed25519 takes no randomness.
    assert_eq!(signer.sign(head), note);

    let checkpoint = CheckpointVerifier::new(key.clone()).unwrap().verify(&note).unwrap();
    assert_eq!((checkpoint.head(), checkpoint.origin(), checkpoint.key()), (head, ORIGIN, key));
    assert!(checkpoint.is_by_current_key() && checkpoint.cosignatures().is_empty());
}

#[test]
fn the_empty_ledger_and_the_largest_have_their_checkpoint() {
    let signer = signer(ORIGIN, 1);
    let verifier = CheckpointVerifier::new(signer.verifier_key().clone()).unwrap();
    for head in [Head::new(0, tree::Tree::default().root()), Head::new(u64::MAX, [1; 32])] {
        assert_eq!(verifier.verify(signer.sign(head)).unwrap().head(), head);
    }
    assert_eq!(verifier.verify(signer.sign(Head::new(0, [1; 32]))), Err(CheckpointError::Root));
}

#[test]
fn keys_are_rotated_and_the_old_one_is_told_apart() {
    let (old, new) = (signer(ORIGIN, 1), signer(ORIGIN, 2));
    let (by_old, by_new) = (old.sign(head()), new.sign(head()));
    let alone = CheckpointVerifier::new(new.verifier_key().clone()).unwrap();
    assert_eq!(alone.verify(&by_old), Err(CheckpointError::Unsigned));
    let both = alone.clone().add_old_key(old.verifier_key().clone()).unwrap();
    let (by_old_key, by_new_key) = (both.verify(&by_old).unwrap(), both.verify(&by_new).unwrap());
    assert_eq!((by_old_key.is_by_current_key(), by_old_key.key()), (false, old.verifier_key()));
    assert_eq!((by_new_key.is_by_current_key(), by_new_key.key()), (true, new.verifier_key()));
    // Signed by both while the key changes, in either order: the current one counts, and both must hold.
    let line = |note: &str| note[note.rfind("\n\n").unwrap() + 2..].to_owned();
    let twice = [by_old.clone() + &line(&by_new), by_new.clone() + &line(&by_old)];
    for note in &twice {
        assert!(both.verify(note).unwrap().is_by_current_key());
        assert!(alone.verify(note).unwrap().is_by_current_key());
    }
    let wrong = by_new + &line(&old.sign(Head::new(1, [3; 32])));
    assert_eq!(both.verify(&wrong), Err(CheckpointError::BadSignature));
    assert!(alone.verify(&wrong).is_ok(), "a key that is not known is not looked at");
}

#[test]
fn witnesses_are_counted_once_each_and_their_times_told() {
    let log = signer(ORIGIN, 1);
    let witnesses = [("w1.example", 10), ("w2.example", 11), ("w3.example", 12)].map(|(name, n)| Witness::new(name, n));
    let [one, two, three] = &witnesses;
    let second_key = Witness::new("w1.example", 13);
    let verifier = CheckpointVerifier::new(log.verifier_key().clone()).unwrap();
    let verifier = verifier.add_witness(one.key()).unwrap().add_witness(two.key()).unwrap();
    let verifier = verifier.add_witness(second_key.key()).unwrap();
    let note = log.sign(head());
    let cosigned = |all: &[(&Witness, u64)]| {
        note.clone() + &all.iter().map(|(witness, time)| witness.cosign(&note, *time)).collect::<String>()
    };
    let quorum = |quorum| verifier.clone().with_quorum(quorum).unwrap();

    let signed = quorum(2).verify(cosigned(&[(one, 1_679_315_147), (two, 0)])).unwrap();
    let told: Vec<_> = signed.cosignatures().iter().map(|c| (c.witness(), c.time().to_string())).collect();
    assert_eq!(
        told,
        [("w1.example", "2023-03-20T12:25:47Z".to_owned()), ("w2.example", "1970-01-01T00:00:00Z".to_owned())]
    );
    assert_eq!(signed.cosignatures()[1].key(), &two.key());

    for (name, note, have) in [
        ("nobody", cosigned(&[]), 0),
        ("one", cosigned(&[(one, 5)]), 1),
        ("one, and a stranger", cosigned(&[(one, 5), (three, 5)]), 1),
        ("one by both its keys", cosigned(&[(one, 5), (&second_key, 6)]), 1),
    ] {
        assert_eq!(quorum(2).verify(&note), Err(CheckpointError::Quorum { have, need: 2 }), "{name}");
        assert!(quorum(have).verify(&note).is_ok(), "{name}");
    }
    // Witnesses do not stand in for the log.
    let without = cosigned(&[(one, 5), (two, 5)]).replace(&note[note.rfind("\n\n").unwrap() + 2..], "");
    assert_eq!(quorum(2).verify(&without), Err(CheckpointError::Unsigned));
    // The calendar ends before the numbers do.
    for (time, error) in
        [(253_402_207_200, None), (1 << 62, Some(CheckpointError::Time)), (1 << 63, Some(CheckpointError::Time))]
    {
        assert_eq!(quorum(1).verify(cosigned(&[(one, time)])).err(), error, "{time}");
    }
}

#[test]
fn sets_of_keys_that_cannot_be_meant_are_refused() {
    use CheckpointKeyError as E;
    let log = signer(ORIGIN, 1);
    let verifier = CheckpointVerifier::new(log.verifier_key().clone()).unwrap();
    let witness = Witness::new("w1.example", 10);
    let with = verifier.clone().add_witness(witness.key()).unwrap();
    let as_witness = Witness::new("w.example", 1).key();
    for (name, refused, error) in [
        ("a witness as the log", CheckpointVerifier::new(witness.key()), E::NotLog),
        ("a witness as an old key", verifier.clone().add_old_key(witness.key()), E::NotLog),
        (
            "a log as a witness",
            verifier.clone().add_witness(signer("x.example", 3).verifier_key().clone()),
            E::NotWitness,
        ),
        (
            "another log's key",
            verifier.clone().add_old_key(signer("x.example", 3).verifier_key().clone()),
            E::OtherName,
        ),
        ("the key itself as an old one", verifier.clone().add_old_key(log.verifier_key().clone()), E::Repeated),
        ("a witness twice", with.clone().add_witness(witness.key()), E::Repeated),
        (
            "a witness's key under another name",
            with.clone().add_witness(Witness::new("w2.example", 10).key()),
            E::Repeated,
        ),
        ("the log as its own witness", verifier.clone().add_witness(as_witness), E::Repeated),
        ("a quorum of nobody's", verifier.clone().with_quorum(1), E::Quorum),
        ("a quorum above the witnesses", with.clone().with_quorum(2), E::Quorum),
        (
            "a quorum of one witness's two keys",
            with.add_witness(Witness::new("w1.example", 11).key()).unwrap().with_quorum(2),
            E::Quorum,
        ),
    ] {
        assert_eq!(refused.unwrap_err(), error, "{name}");
    }
}

#[test]
fn the_private_key_is_in_no_output() {
    let signer = signer(ORIGIN, 1);
    let text = signer.encode();
    let secret = text.expose_secret().splitn(5, '+').nth(4).unwrap();
    let shown = format!("{signer:?} {signer:#?} {text:?}");
    assert!(!shown.contains(secret) && shown.contains(&signer.verifier_key().to_string()));
    let seed = seed(1);
    for spelling in [data_encoding::HEXLOWER.encode(&seed), format!("{seed:?}"), BASE64.encode(&seed)] {
        assert!(!shown.contains(spelling.trim_matches(['[', ']', '='])), "{shown}");
    }
    // Nor where it is given in the wrong place.
    let error = text.expose_secret().parse::<VerifierKey>().unwrap_err();
    assert_eq!(error, CheckpointKeyError::Private);
    assert!(!format!("{error} {error:?}").contains(secret));
}
