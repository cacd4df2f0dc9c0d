//! Attacks on wrapped keys.

use aes_gcm::{
    KeyInit,
    aes::{Aes256, cipher::BlockCipherEncrypt},
};

use super::*;

fn tenant(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}

fn subject(byte: u8) -> SubjectId {
    SubjectId::from_bytes([byte; 16])
}

fn secret(byte: u8) -> Secret<[u8; 32]> {
    Secret::init_with_mut(|key: &mut [u8; 32]| *key = [byte; 32])
}

fn wrapped(record: &Record) -> Wrapped {
    match record {
        Record::Wrapped(wrapped) => wrapped.clone(),
        other => panic!("not a wrapped key: {other:?}"),
    }
}

#[test]
fn a_key_comes_back_under_its_parent_and_owner_alone() {
    let (north, south) = (tenant("northgate"), tenant("southgate"));
    let parent = Parent::new(&[1; 32], 1);
    let owner = Owner { tenant: &north, subject: Some(subject(7)) };
    let record = wrapped(&parent.wrap(owner, 3, &secret(9)));
    assert_eq!(parent.unwrap(owner, &record).unwrap().expose_secret(), &[9; 32]);

    let attacks = [
        ("another parent", Parent::new(&[2; 32], 1), owner),
        ("the parent in another epoch", Parent::new(&[1; 32], 2), owner),
        ("another tenant", Parent::new(&[1; 32], 1), Owner { tenant: &south, ..owner }),
        ("another subject", Parent::new(&[1; 32], 1), Owner { subject: Some(subject(8)), ..owner }),
        ("as the tenant's own key", Parent::new(&[1; 32], 1), Owner { subject: None, ..owner }),
    ];
    for (attack, parent, owner) in attacks {
        assert!(parent.unwrap(owner, &record).is_err(), "{attack}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let north = tenant("northgate");
    let parent = Parent::new(&[1; 32], 1);
    let owner = Owner { tenant: &north, subject: Some(subject(7)) };
    let opens = |bytes: &[u8]| match Record::parse(bytes) {
        Ok(Record::Wrapped(wrapped)) => parent.unwrap(owner, &wrapped).is_ok(),
        Ok(Record::Erased(erased)) => parent.check_tombstone(owner, &erased).is_ok(),
        Ok(Record::RootCheck(_)) | Err(Corrupt) => false,
    };
    for record in [parent.wrap(owner, 1, &secret(9)), parent.tombstone(owner, 1)] {
        let bytes = record.to_bytes();
        assert!(opens(&bytes));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&flipped), "bit {bit}");
        }
    }
}

#[test]
fn a_tombstone_is_bound_to_its_owner() {
    let (north, south) = (tenant("northgate"), tenant("southgate"));
    let parent = Parent::new(&[1; 32], 1);
    let owner = Owner { tenant: &north, subject: Some(subject(7)) };
    let Record::Erased(erased) = parent.tombstone(owner, 1) else { panic!("a tombstone") };
    assert!(parent.check_tombstone(owner, &erased).is_ok());
    assert!(parent.check_tombstone(Owner { subject: Some(subject(8)), ..owner }, &erased).is_err());
    assert!(parent.check_tombstone(Owner { tenant: &south, ..owner }, &erased).is_err());
    assert!(Parent::new(&[2; 32], 1).check_tombstone(owner, &erased).is_err());
}

#[test]
fn a_non_canonical_record_is_refused() {
    let north = tenant("northgate");
    let record = Parent::new(&[1; 32], 1).wrap(Owner { tenant: &north, subject: None }, 1, &secret(9));
    let good = record.to_bytes();
    assert_eq!((good.len(), Record::parse(&good).as_ref()), (102, Ok(&record)));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let attacks = [
        ("empty", Vec::new()),
        ("version alone", vec![1]),
        ("version 0", with(0, 0)),
        ("version 2", with(0, 2)),
        ("an unknown kind", with(1, 4)),
        ("a root check of this length", with(1, 0)),
        ("a tombstone of this length", with(1, 3)),
        ("epoch zero", with(5, 0)),
        ("parent epoch zero", with(9, 0)),
        ("one byte short", good[..101].to_vec()),
        ("one byte long", [good.as_slice(), &[0]].concat()),
        ("twice", [good.as_slice(), &good].concat()),
    ];
    for (attack, bytes) in attacks {
        assert_eq!(Record::parse(&bytes), Err(Corrupt), "{attack}");
    }
}

proptest::proptest! {
    #[test]
    fn what_parses_prints_as_it_was(head in 0u8..3, kind in 0u8..5, body in proptest::collection::vec(0u8..=255, 0..110)) {
        let mut bytes = vec![head, kind];
        bytes.extend_from_slice(&body);
        round_trips(&bytes);
        for length in [ROOT_CHECK_LEN, WRAPPED_LEN, ERASED_LEN] {
            let mut exact = bytes.clone();
            exact.resize(length, 1);
            proptest::prop_assert_eq!(round_trips(&exact), head == 1 && match kind {
                0 => length == ROOT_CHECK_LEN,
                1 | 2 => length == WRAPPED_LEN && exact[2..6] != [0; 4] && exact[6..10] != [0; 4],
                3 => length == ERASED_LEN && exact[2..6] != [0; 4] && exact[6..10] != [0; 4],
                _ => false,
            });
        }
    }
}

#[test]
fn ivs_are_fresh_for_every_wrap() {
    let north = tenant("northgate");
    let parent = Parent::new(&[1; 32], 1);
    let ivs: std::collections::HashSet<[u8; 12]> =
        (0..1_000).map(|_| wrapped(&parent.wrap(Owner { tenant: &north, subject: None }, 1, &secret(9))).iv).collect();
    assert_eq!(ivs.len(), 1_000);
}

/// GCM commits to no key: this makes one ciphertext and tag that open under two wrapping keys, shows that plain GCM
/// takes both, and that unwrapping takes only the one that the commitment names.
#[test]
fn a_ciphertext_made_to_open_under_two_keys_opens_under_one() {
    let north = tenant("northgate");
    let owner = Owner { tenant: &north, subject: Some(subject(7)) };
    let (wrap_1, wrap_2) = ([11; 32], [22; 32]);
    let first = Parent::from_derived(&wrap_1, &[33; 32], 1);
    let second = Parent::from_derived(&wrap_2, &[44; 32], 1);
    let iv = [5; 12];
    let binding = owner.binding(label::WRAPPED_KEY, 1, 1);

    let (one, two) = (Ghash::new(&wrap_1, &iv), Ghash::new(&wrap_2, &iv));
    let mut ciphertext = [0x5a; 32];
    ciphertext[16..].fill(0);
    // The tags differ by a linear function of the second block: solve for the block that makes them equal.
    let difference = one.tag(&binding, &ciphertext) ^ two.tag(&binding, &ciphertext);
    let coefficient = multiply(one.h, one.h) ^ multiply(two.h, two.h);
    let solved = multiply(difference, invert(coefficient));
    ciphertext[16..].copy_from_slice(&solved.to_be_bytes());
    let tag = one.tag(&binding, &ciphertext).to_be_bytes();

    let mut opened = Vec::new();
    for key in [&wrap_1, &wrap_2] {
        let mut buffer = ciphertext;
        aead(key)
            .decrypt_inout_detached(&iv.into(), &binding, buffer.as_mut_slice().into(), &tag.into())
            .expect("plain GCM takes it under both keys");
        opened.push(buffer);
    }
    assert_ne!(opened[0], opened[1]);

    let mut forged = 0;
    for commitment in [first.commitment(&binding, &iv), second.commitment(&binding, &iv)] {
        let record = Wrapped { kind: KIND_SUBJECT, epoch: 1, parent_epoch: 1, iv, ciphertext, tag, commitment };
        let opens = [&first, &second].map(|parent| parent.unwrap(owner, &record).is_ok());
        assert_eq!(opens.iter().filter(|opens| **opens).count(), 1, "it opens under the parent it is committed to");
        forged += usize::from(opens == [true, true]);
    }
    assert_eq!(forged, 0, "forgeries accepted");
}

/// GHASH (SP 800-38D §6.4), for making the collision.
struct Ghash {
    h: u128,
    mask: u128,
}

impl Ghash {
    fn new(key: &[u8; 32], iv: &[u8; 12]) -> Self {
        let aes = Aes256::new(key.into());
        let encrypt = |block: [u8; 16]| {
            let mut block = block.into();
            aes.encrypt_block(&mut block);
            u128::from_be_bytes(block.into())
        };
        let mut counter = [0; 16];
        counter[..12].copy_from_slice(iv);
        counter[15] = 1;
        Self { h: encrypt([0; 16]), mask: encrypt(counter) }
    }

    fn tag(&self, aad: &[u8], ciphertext: &[u8; 32]) -> u128 {
        let lengths = (u128::try_from(aad.len()).unwrap() * 8) << 64 | 256;
        let blocks = aad.chunks(16).chain(ciphertext.chunks(16)).map(|chunk| {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            u128::from_be_bytes(block)
        });
        self.mask ^ blocks.chain([lengths]).fold(0, |sum, block| multiply(sum ^ block, self.h))
    }
}

fn multiply(x: u128, y: u128) -> u128 {
    let (mut product, mut shifted) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted = shifted >> 1 ^ if shifted & 1 == 1 { 0xe1 << 120 } else { 0 };
    }
    product
}

/// x^(2^128 - 2), the inverse.
fn invert(x: u128) -> u128 {
    let mut inverse = 1 << 127; // the field's one, in GCM's bit order
    let mut square = x;
    for _ in 1..128 {
        square = multiply(square, square);
        inverse = multiply(inverse, square);
    }
    inverse
}
