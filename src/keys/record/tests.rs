//! Attacks on wrapped keys.

use super::*;

#[path = "../../../tests/it/support/gcm.rs"]
pub(crate) mod gcm;

use gcm::opens_under_both;

fn tenant(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}

fn subject(byte: u8) -> SubjectId {
    SubjectId::from_bytes([byte; 16])
}

fn secret(byte: u8) -> Secret<[u8; 32]> {
    Secret::init_with_mut(|key: &mut [u8; 32]| *key = [byte; 32])
}

/// A subject's keys, under the parent that `parent(1, 1)` gives.
fn set(parent: &Parent, owner: Owner<'_>) -> KeySet {
    parent.wrap(owner, 0, [(3, 1_000, &secret(9)), (5, 2_000, &secret(8))])
}

/// The same of a person whose keys were replaced twice.
fn set_with_past(parent: &Parent, owner: Owner<'_>) -> KeySet {
    let past = [(1, 500, &secret(7)), (2, 700, &secret(6))];
    parent.wrap_with_past(owner, 0, [(3, 1_000, &secret(9)), (5, 2_000, &secret(8))], past)
}

fn parent(key: u8, epoch: u32) -> Parent {
    Parent::new(&[key; 32], epoch)
}

fn guarded(clinic: Option<KeySet>) -> Guarded {
    let key = |epoch, kek: &str, blob: &[u8]| GuardedKey {
        epoch,
        made: 1_000,
        kek: KekId::new(kek).unwrap(),
        blob: blob.to_vec(),
        commitment: [7; 32],
    };
    Guarded::new(vec![key(1, "root", b"one"), key(2, "hsm-2026", b"two, a longer one")], clinic)
}

/// One of each kind, signed by the same authority for the same owner.
fn one_of_each(authority: &Authority, tenant: &TenantId) -> Vec<Record> {
    let parent = parent(1, 1);
    let owner = Owner::subject(tenant, subject(7));
    let clinic = parent.wrap(Owner::tenant(tenant), 0, [(1, 1_000, &secret(9))]);
    let records = [
        Record::Guarded(guarded(None)),
        Record::Guarded(guarded(Some(clinic))),
        Record::Set(set(&parent, owner)),
        Record::Set(set_with_past(&parent, owner)),
        Record::Erased(Tombstone::new(5, 3_000, [4; 16])),
        Record::Shred(Shred::begun(3_000, [4; 16])),
        Record::Shred(Shred::begun(3_000, [4; 16]).done(2)),
    ];
    records.map(|record| authority.sign(owner, record)).to_vec()
}

#[test]
fn a_key_comes_back_under_its_parent_and_owner_alone() {
    let (north, south) = (tenant("northgate"), tenant("southgate"));
    let owner = Owner::subject(&north, subject(7));
    let set = set(&parent(1, 1), owner);
    let opened = parent(1, 1).unwrap(owner, &set).unwrap();
    let opened: Vec<_> = opened.iter().map(|(epoch, key)| (*epoch, *key.expose_secret())).collect();
    assert_eq!(opened, [(3, [9; 32]), (5, [8; 32])]);

    let attacks = [
        ("another parent", parent(2, 1), owner),
        ("the parent in another epoch", parent(1, 2), owner),
        ("another tenant", parent(1, 1), Owner::subject(&south, subject(7))),
        ("another subject", parent(1, 1), Owner::subject(&north, subject(8))),
        ("as the clinic's own key", parent(1, 1), Owner::tenant(&north)),
        ("as the platform's", parent(1, 1), Owner::PLATFORM),
    ];
    for (attack, parent, owner) in attacks {
        assert!(parent.unwrap(owner, &set).is_err(), "{attack}");
    }
    let mut swapped = set.clone();
    swapped.keys.swap(0, 1);
    assert!(parent(1, 1).unwrap(owner, &swapped).is_err(), "keys in another order");
    let mut other = set;
    other.current = 1;
    assert!(parent(1, 1).unwrap(owner, &other).is_err(), "another key in use");
}

/// What is kept of a retired key opens the ledger and seals no value: it must not come back as a key.
#[test]
fn what_is_kept_of_a_key_is_no_key() {
    let north = tenant("northgate");
    let owner = Owner::subject(&north, subject(7));
    let (parent, set) = (parent(1, 1), set_with_past(&parent(1, 1), owner));
    let kept = parent.unwrap_past(owner, &set).unwrap();
    let kept: Vec<_> = kept.iter().map(|(epoch, key)| (*epoch, *key.expose_secret())).collect();
    assert_eq!(kept, [(1, [7; 32]), (2, [6; 32])]);
    assert_eq!(parent.unwrap(owner, &set).unwrap().iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [3, 5]);
    assert!(parent.unwrap_past(Owner::subject(&north, subject(8)), &set).is_err(), "another subject's");

    // Who could sign, but wrapped nothing, moves what is wrapped from the one list to the other.
    let sign = |keys: &[Wrapped], past: &[Wrapped]| {
        let set = KeySet::new(true, 1, 0, keys.to_vec(), past.to_vec());
        let Record::Set(set) = parent.authority.sign(owner, Record::Set(set)) else { panic!("signing keeps the kind") };
        set
    };
    assert!(parent.unwrap(owner, &sign(&set.keys, &set.past)).is_ok());
    assert!(parent.unwrap(owner, &sign(&set.past, &[])).is_err(), "kept, as a key");
    assert!(parent.unwrap_past(owner, &sign(&set.keys[1..], &set.keys[..1])).is_err(), "a key, as kept");
}

#[test]
fn every_flipped_bit_is_noticed() {
    let north = tenant("northgate");
    let authority = Authority::new(&[3; 32]);
    let owner = Owner::subject(&north, subject(7));
    for record in one_of_each(&authority, &north) {
        let bytes = record.to_bytes();
        assert_eq!(Record::parse(&bytes).as_ref(), Ok(&record));
        assert!(authority.check(owner, &record).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let believed = Record::parse(&flipped).is_ok_and(|record| authority.check(owner, &record).is_ok());
            assert!(!believed, "bit {bit} of {record:?}");
        }
    }
}

#[test]
fn a_record_is_bound_to_its_owner_and_its_authority() {
    let (north, south) = (tenant("northgate"), tenant("southgate"));
    let authority = Authority::new(&[3; 32]);
    for record in one_of_each(&authority, &north) {
        assert!(authority.check(Owner::subject(&north, subject(8)), &record).is_err(), "another subject");
        assert!(authority.check(Owner::subject(&south, subject(7)), &record).is_err(), "another tenant");
        assert!(authority.check(Owner::tenant(&north), &record).is_err(), "the tenant's own");
        assert!(
            Authority::new(&[4; 32]).check(Owner::subject(&north, subject(7)), &record).is_err(),
            "another authority"
        );
    }
}

#[test]
fn a_non_canonical_record_is_refused() {
    let north = tenant("northgate");
    let parent = parent(1, 1);
    let good = Record::Set(set(&parent, Owner::subject(&north, subject(7)))).to_bytes();
    let past = Record::Set(set_with_past(&parent, Owner::subject(&north, subject(7)))).to_bytes();
    let platform = Record::Guarded(guarded(None)).to_bytes();
    let clinic = parent.wrap(Owner::tenant(&north), 0, [(1, 1_000, &secret(9))]);
    let tenants = Record::Guarded(guarded(Some(clinic.clone()))).to_bytes();
    let of_a_person = Record::Guarded(guarded(Some(set(&parent, Owner::subject(&north, subject(7)))))).to_bytes();
    let tombstone = Record::Erased(Tombstone::new(5, 3_000, [4; 16])).to_bytes();
    let shred = Record::Shred(Shred::begun(3_000, [4; 16])).to_bytes();
    assert_eq!((good.len(), tombstone.len()), (8 + 2 * 72 + 32, 2 + 4 + 8 + 16 + 32));
    let with = |from: &[u8], at: usize, byte: u8| {
        let mut bytes = from.to_vec();
        bytes[at] = byte;
        bytes
    };
    let attacks = [
        ("empty", Vec::new()),
        ("version alone", vec![2]),
        ("version 1", with(&good, 0, 1)),
        ("version 3", with(&good, 0, 3)),
        ("a platform's of these bytes", with(&good, 1, 0)),
        ("a clinic's keys by themselves", Record::Set(clinic).to_bytes()),
        ("the notices' kind", with(&good, 1, 5)),
        ("an unknown kind", with(&good, 1, 8)),
        ("of a person whose keys were replaced, without the old ones", with(&good, 1, 7)),
        ("nothing kept", with(&past, 8 + 2 * 72, 0)),
        ("one kept of two", with(&past, 8 + 2 * 72, 1)),
        ("three kept of two", with(&past, 8 + 2 * 72, 3)),
        ("kept epoch zero", with(&past, 12 + 2 * 72, 0)),
        ("kept epochs that fall", with(&past, 12 + 3 * 72, 1)),
        ("kept of a key that is there", with(&past, 12 + 3 * 72, 3)),
        ("what is kept without its kind", with(&past, 1, 2)),
        ("what is kept of a clinic's", with(&past, 1, 3)),
        ("a tombstone of this length", with(&good, 1, 4)),
        ("parent epoch zero", with(&good, 5, 0)),
        ("in use: a key that is not there", with(&good, 6, 2)),
        ("no keys", with(&good, 7, 0)),
        ("three keys", with(&good, 7, 3)),
        ("one key of two", with(&good, 7, 1)),
        ("epoch zero", with(&good, 11, 0)),
        ("epochs that fall", with(&good, 11, 6)),
        ("one epoch twice", with(&good, 11, 5)),
        ("made before 1970", with(&good, 12, 0x80)),
        ("one byte short", good[..good.len() - 1].to_vec()),
        ("one byte long", [good.as_slice(), &[0]].concat()),
        ("twice", [good.as_slice(), &good].concat()),
        ("a platform's secret that is revoked", with(&platform, 2, 2)),
        ("a state that is none", with(&tenants, 2, 3)),
        ("a name of no letter", with(&tenants, 17, b'-')),
        ("a name of no length", with(&tenants, 16, 0)),
        ("nothing wrapped", with(&with(&tenants, 21, 0), 22, 0)),
        ("a person's keys as a clinic's", of_a_person),
        ("a tenant's without the clinic's", with(&platform, 1, 1)),
        ("a tombstone one byte short", tombstone[..tombstone.len() - 1].to_vec()),
        ("a tombstone of epoch zero", with(&tombstone, 5, 0)),
        ("a shred that is neither begun nor done", with(&shred, 2, 3)),
        ("a shred that is done by nobody", with(&shred, 2, 2)),
        ("a shred that is begun and confirmed", with(&shred, 27, 1)),
        ("a shred one byte long", [shred.as_slice(), &[0]].concat()),
    ];
    for (attack, bytes) in attacks {
        assert_eq!(Record::parse(&bytes), Err(Corrupt), "{attack}");
    }
}

proptest::proptest! {
    #[test]
    fn what_parses_prints_as_it_was(
        head in 1u8..4, kind in 0u8..8, body in proptest::collection::vec(0u8..=255, 0..300),
        at in 0usize..300, with in 0u8..=255,
    ) {
        let mut bytes = vec![head, kind];
        bytes.extend_from_slice(&body);
        round_trips(&bytes);
        // Close to what is one.
        for record in one_of_each(&Authority::new(&[3; 32]), &tenant("northgate")) {
            let mut bytes = record.to_bytes();
            let at = at % bytes.len();
            bytes[at] = with;
            round_trips(&bytes);
            bytes.truncate(at);
            proptest::prop_assert!(!round_trips(&bytes), "what is cut off is no record");
        }
    }
}

#[test]
fn ivs_are_fresh_for_every_wrap() {
    let north = tenant("northgate");
    let parent = parent(1, 1);
    let ivs: std::collections::HashSet<[u8; 12]> =
        (0..500).flat_map(|_| set(&parent, Owner::subject(&north, subject(7))).keys).map(|key| key.iv).collect();
    assert_eq!(ivs.len(), 1_000);
}

/// GCM commits to no key: this makes one ciphertext and tag that open under two parents' wrapping keys, shows that plain GCM
/// takes both, and that unwrapping takes only the one whose MAC the record carries.
#[test]
fn a_ciphertext_made_to_open_under_two_keys_opens_under_one() {
    let north = tenant("northgate");
    let owner = Owner::subject(&north, subject(7));
    let (first, second) = (parent(11, 1), parent(22, 1));
    let wrapping = |key: u8| derive(&[key; 32], label::WRAP, &[]);
    let (wrap_1, wrap_2) = (wrapping(11), wrapping(22));
    let iv = [5; 12];
    let binding = first.binding(label::WRAPPED_KEY, owner, 1, 1_000);

    let (ciphertext, tag) = opens_under_both([&wrap_1, &wrap_2], &iv, &binding);
    let mut opened = Vec::new();
    for key in [&wrap_1, &wrap_2] {
        let mut buffer = ciphertext;
        aead(key).open(&iv, &binding, &mut buffer, &tag).expect("plain GCM takes it under both keys");
        opened.push(buffer);
    }
    assert_ne!(opened[0], opened[1]);

    for by in [&first, &second] {
        let key = Wrapped { epoch: 1, made: 1_000, iv, ciphertext, tag };
        let Record::Set(set) = by.authority.sign(owner, Record::Set(KeySet::new(true, 1, 0, vec![key], Vec::new())))
        else {
            panic!("signing keeps the kind")
        };
        let opens = [&first, &second].map(|parent| parent.unwrap(owner, &set).is_ok());
        assert_eq!(opens.iter().filter(|opens| **opens).count(), 1, "it opens under the parent whose MAC it carries");
    }
}

/// Another key in, another commitment out: of what opens as two keys, one is refused.
#[test]
fn a_commitment_names_one_key_of_one_owner_and_epoch() {
    let (north, south) = (tenant("northgate"), tenant("southgate"));
    let rows = [
        commitment(Owner::tenant(&north), 1, &secret(9)),
        commitment(Owner::tenant(&north), 1, &secret(8)),
        commitment(Owner::tenant(&north), 2, &secret(9)),
        commitment(Owner::tenant(&south), 1, &secret(9)),
        commitment(Owner::PLATFORM, 1, &secret(9)),
    ];
    assert_eq!(rows.iter().map(|row| **row).collect::<std::collections::HashSet<_>>().len(), rows.len());
    assert!(rows.iter().all(|row| **row != [9; 32]));
}
