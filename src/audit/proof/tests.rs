#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use data_encoding::BASE64;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::audit::hashes::HashFile;

/// Of the `transparency-dev/merkle` test data: the number of cases, and of those that must fail.
const VECTORS: [(&str, &str, usize, usize); 2] = [
    ("inclusion", include_str!("../../../tests/vectors/tlog-merkle/inclusion.json"), 98, 92),
    ("consistency", include_str!("../../../tests/vectors/tlog-merkle/consistency.json"), 98, 92),
];

fn hash(value: &Value) -> Option<Hash> {
    BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap().try_into().ok()
}

fn path(case: &Value) -> Option<Vec<Hash>> {
    case["proof"].as_array().map_or(Some(Vec::new()), |path| path.iter().map(hash).collect())
}

/// A few cases write words in the place of a root. Those that differ still do.
fn root(value: &Value) -> Hash {
    hash(value).unwrap_or_else(|| leaf_hash(value.as_str().unwrap().as_bytes()))
}

/// `None` where a hash is not even of a hash's length.
fn inclusion(case: &Value) -> Option<Result<(), ProofError>> {
    let head = Head::new(case["treeSize"].as_u64().unwrap(), root(&case["root"]));
    let proof = InclusionProof::new(case["leafIdx"].as_u64().unwrap(), head.size, path(case)?);
    let leaf = hash(&case["leafHash"])?;
    Some(proof.and_then(|proof| proof.verify(&leaf, &head)))
}

fn consistency(case: &Value) -> Option<Result<(), ProofError>> {
    let old = Head::new(case["size1"].as_u64().unwrap(), root(&case["root1"]));
    let new = Head::new(case["size2"].as_u64().unwrap(), root(&case["root2"]));
    Some(ConsistencyProof::new(old.size, new.size, path(case)?).and_then(|proof| proof.verify(&old, &new)))
}

#[test]
fn the_196_vectors_of_rfc_6962_are_judged_as_they_say() {
    let mut total = 0;
    for (kind, text, count, bad) in VECTORS {
        let cases: Vec<Value> = serde_json::from_str(text).unwrap();
        let (mut seen, mut refused) = (0, 0);
        for case in &cases {
            let name = case["name"].as_str().unwrap();
            let judged = if kind == "inclusion" { inclusion(case) } else { consistency(case) };
            let holds = judged == Some(Ok(()));
            assert_eq!(holds, !case["wantErr"].as_bool().unwrap(), "{kind} {name}: {judged:?}");
            seen += 1;
            refused += usize::from(!holds);
        }
        assert_eq!((seen, refused), (count, bad), "{kind}");
        total += seen;
    }
    assert_eq!(total, 196);
}

/// Two complete subtrees and a lone leaf, and everything below.
const SMALL: u64 = 21;

/// A file of hashes with so many leaves, whose leaf `n` is the hash of `n`.
fn file(size: u64) -> (tempfile::TempDir, HashFile) {
    let dir = tempfile::tempdir().unwrap();
    let mut file = HashFile::open(&dir.path().join("hashes")).unwrap();
    let leaves: Vec<_> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    file.append(&leaves).unwrap();
    (dir, file)
}

/// Every text that differs from this one in one bit of its path or of its numbers, and parses.
fn one_bit_off(path: &[Hash]) -> impl Iterator<Item = Vec<Hash>> {
    (0..path.len() * 256).map(|bit| {
        let mut path = path.to_vec();
        path[bit / 256][bit / 8 % 32] ^= 1 << (bit % 8);
        path
    })
}

fn flip(hash: &Hash, bit: usize) -> Hash {
    let mut hash = *hash;
    hash[bit / 8] ^= 1 << (bit % 8);
    hash
}

#[test]
fn every_index_of_every_small_size_is_proved_and_no_bit_of_it_can_be_changed() {
    let (_dir, file) = file(SMALL);
    let reader = file.reader();
    let mut proofs = 0;
    for size in 1..=SMALL {
        let head = reader.head_at(size).unwrap();
        for index in 0..size {
            let leaf = leaf_hash(&index.to_be_bytes());
            let proof = reader.inclusion(index, size).unwrap();
            assert_eq!(proof.verify(&leaf, &head), Ok(()), "{index} of {size}");
            proofs += 1;
            for path in one_bit_off(proof.path()) {
                let changed = InclusionProof::new(index, size, path).unwrap();
                assert_eq!(changed.verify(&leaf, &head), Err(ProofError::Root), "{index} of {size}");
            }
            for bit in 0..256 {
                assert_eq!(proof.verify(&flip(&leaf, bit), &head), Err(ProofError::Root));
                let other = Head::new(size, flip(&head.root, bit));
                assert_eq!(proof.verify(&leaf, &other), Err(ProofError::Root));
            }
            // At any other place the same leaf and path prove nothing.
            for other in (0..size).filter(|other| *other != index) {
                let moved = InclusionProof::new(other, size, proof.path().to_vec());
                assert_ne!(moved.and_then(|moved| moved.verify(&leaf, &head)), Ok(()), "{index} as {other} of {size}");
            }
        }
    }
    assert_eq!(proofs, SMALL * (SMALL + 1) / 2);
}

#[test]
fn every_pair_of_small_sizes_is_consistent_and_no_bit_of_it_can_be_changed() {
    let (_dir, file) = file(SMALL);
    let reader = file.reader();
    for new in 1..=SMALL {
        let after = reader.head_at(new).unwrap();
        for old in 1..=new {
            let before = reader.head_at(old).unwrap();
            let proof = reader.consistency(old, new).unwrap();
            assert_eq!(proof.verify(&before, &after), Ok(()), "{old} to {new}");
            for path in one_bit_off(proof.path()) {
                let changed = ConsistencyProof::new(old, new, path).unwrap();
                assert_eq!(changed.verify(&before, &after), Err(ProofError::Root), "{old} to {new}");
            }
            for bit in 0..256 {
                let (forked, other) = (Head::new(old, flip(&before.root, bit)), Head::new(new, flip(&after.root, bit)));
                assert_eq!(proof.verify(&forked, &after), Err(ProofError::Root));
                assert_eq!(proof.verify(&before, &other), Err(ProofError::Root));
            }
        }
        assert_eq!(ConsistencyProof::new(0, new, Vec::new()), Err(ProofError::Order));
        assert_eq!(ConsistencyProof::new(new + 1, new, Vec::new()), Err(ProofError::Order));
        assert_eq!(InclusionProof::new(new, new, Vec::new()), Err(ProofError::Index));
    }
}

#[test]
fn sizes_at_the_end_of_the_numbers_are_judged_without_a_panic() {
    let ends = [0, 1, 2, 3, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX];
    for a in ends {
        for b in ends {
            for length in 0..=66 {
                let path = vec![[7; 32]; length];
                let head = Head::new(b, [7; 32]);
                if let Ok(proof) = InclusionProof::new(a, b, path.clone()) {
                    assert!(proof.verify(&[7; 32], &head).is_err() || length == 0);
                    assert_eq!(proof.to_string().parse(), Ok(proof));
                }
                if let Ok(proof) = ConsistencyProof::new(a, b, path) {
                    assert!(proof.verify(&Head::new(a, [7; 32]), &head).is_err() || a == b);
                    assert_eq!(proof.to_string().parse(), Ok(proof));
                }
            }
        }
    }
}

#[test]
fn a_proof_of_another_size_than_the_head_proves_nothing() {
    let (_dir, file) = file(9);
    let reader = file.reader();
    let proof = reader.inclusion(3, 7).unwrap();
    let leaf = leaf_hash(&3_u64.to_be_bytes());
    assert_eq!(proof.verify(&leaf, &reader.head_at(8).unwrap()), Err(ProofError::Size));
    let proof = reader.consistency(3, 7).unwrap();
    let [three, four, seven, eight] = [3, 4, 7, 8].map(|size| reader.head_at(size).unwrap());
    assert_eq!(proof.verify(&three, &seven), Ok(()));
    assert_eq!(proof.verify(&three, &eight), Err(ProofError::Size));
    assert_eq!(proof.verify(&four, &seven), Err(ProofError::Size));
}

#[test]
fn texts_that_no_proof_prints_as_are_refused() {
    let hash = BASE64.encode(&[7; 32]);
    let good = format!("inclusion 0 2\n{hash}\n");
    assert_eq!(good.parse(), InclusionProof::new(0, 2, vec![[7; 32]]));
    let loose = format!("{}h=", &hash[..42]);
    for (name, text, error) in [
        ("nothing", String::new(), ProofError::Text),
        ("a word alone", "inclusion\n".to_owned(), ProofError::Text),
        ("one number", "inclusion 0\n".to_owned(), ProofError::Text),
        ("no newline at the end", good.trim_end().to_owned(), ProofError::Text),
        ("a blank line at the end", format!("{good}\n"), ProofError::Text),
        ("a carriage return", good.replace('\n', "\r\n"), ProofError::Text),
        ("the other kind's word", good.replace("inclusion", "consistency"), ProofError::Text),
        ("a leading zero", good.replace("0 2", "00 2"), ProofError::Text),
        ("a sign", good.replace("0 2", "+0 2"), ProofError::Text),
        ("a number beyond 64 bits", good.replace("0 2", "0 18446744073709551616"), ProofError::Text),
        ("two spaces", good.replace("0 2", "0  2"), ProofError::Text),
        ("base64 without padding", good.replace('=', ""), ProofError::Text),
        ("base64url", format!("inclusion 0 2\n{}\n", data_encoding::BASE64URL.encode(&[0xff; 32])), ProofError::Text),
        ("a bit behind the hash", format!("inclusion 0 2\n{loose}\n"), ProofError::Text),
        (
            "padding in the middle",
            format!("inclusion 0 2\n{}{}\n", BASE64.encode(&[7; 2]), BASE64.encode(&[7; 30])),
            ProofError::Text,
        ),
        ("31 bytes", format!("inclusion 0 2\n{}\n", BASE64.encode(&[7; 31])), ProofError::Text),
        ("33 bytes", format!("inclusion 0 2\n{}\n", BASE64.encode(&[7; 33])), ProofError::Text),
        ("an index that is not there", format!("inclusion 2 2\n{hash}\n"), ProofError::Index),
        ("an empty tree", "inclusion 0 0\n".to_owned(), ProofError::Index),
        ("a hash too few", "inclusion 0 2\n".to_owned(), ProofError::Length),
        ("a hash too many", format!("{good}{hash}\n"), ProofError::Length),
        ("a million hashes", format!("inclusion 0 2\n{}", format!("{hash}\n").repeat(1_000_000)), ProofError::Length),
    ] {
        assert_eq!(text.parse::<InclusionProof>(), Err(error), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn random_sizes_are_proved_at_every_index(size in 1_u64..1_500, older in any::<prop::sample::Index>()) {
        let (_dir, file) = file(size);
        let reader = file.reader();
        let head = reader.head_at(size).unwrap();
        for index in 0..size {
            let proof = reader.inclusion(index, size).unwrap();
            prop_assert_eq!(proof.verify(&leaf_hash(&index.to_be_bytes()), &head), Ok(()));
            prop_assert_eq!(proof.to_string().parse(), Ok(proof));
        }
        let old = 1 + older.index(size as usize) as u64;
        let proof = reader.consistency(old, size).unwrap();
        prop_assert_eq!(proof.verify(&reader.head_at(old).unwrap(), &head), Ok(()));
        for path in one_bit_off(proof.path()) {
            let changed = ConsistencyProof::new(old, size, path).unwrap();
            prop_assert_eq!(changed.verify(&reader.head_at(old).unwrap(), &head), Err(ProofError::Root));
        }
        prop_assert_eq!(proof.to_string().parse(), Ok(proof));
    }
}
