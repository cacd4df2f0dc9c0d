//! What is a stored hash, and what settings are too weak.

use std::num::NonZeroUsize;

use crate::identity::{
    IdentityError,
    password::{Candidate, PasswordHashing, Pool, PoolError},
};

fn candidate(text: &str) -> Option<Candidate> {
    Candidate::new(text.into())
}

async fn pool() -> Pool {
    Pool::open(&PasswordHashing::default().with_workers(NonZeroUsize::MIN)).await.expect("a pool")
}

#[test]
fn costs_below_the_floor_are_refused() {
    for (attack, memory, passes, lanes) in [
        ("one KiB below, two passes", 19_455, 2, 1),
        ("one KiB below, one pass", 47_103, 1, 1),
        ("one KiB below, three passes", 12_287, 3, 1),
        ("many passes over little", 8, 16, 1),
        ("no pass", 19_456, 0, 1),
        ("no lane", 19_456, 2, 0),
        ("five lanes", 19_456, 2, 5),
        ("more memory than there is", u32::MAX, 2, 1),
        ("no end of passes", 19_456, u32::MAX, 1),
    ] {
        let settings = PasswordHashing::default().with_cost(memory, passes, lanes);
        assert!(matches!(settings.check(), Err(IdentityError::Setting { name: "passwords.cost", .. })), "{attack}");
    }
    for (memory, passes) in [(47_104, 1), (19_456, 2), (12_288, 3), (12_288, 4)] {
        assert!(PasswordHashing::default().with_cost(memory, passes, 1).check().is_ok(), "{memory} {passes}");
    }
}

#[tokio::test]
async fn a_stored_hash_that_this_crate_would_not_write_is_refused_without_work() {
    let pool = pool().await;
    let good = pool.hash(candidate("correct horse battery").expect("fits")).await.expect("hashed");
    let (head, tail) = good.split_at("$argon2id$v=19$m=19456,t=2,p=1$".len());
    assert_eq!(head, "$argon2id$v=19$m=19456,t=2,p=1$");
    let runs = pool.runs();
    for (attack, hash) in [
        ("empty", String::new()),
        ("argon2i", good.replace("argon2id", "argon2i")),
        ("argon2d", good.replace("argon2id", "argon2d")),
        ("version 16", good.replace("v=19", "v=16")),
        ("no version", good.replace("$v=19", "")),
        ("memory below the floor", format!("$argon2id$v=19$m=8,t=2,p=1${tail}")),
        ("memory without end", format!("$argon2id$v=19$m=4294967295,t=2,p=1${tail}")),
        ("passes without end", format!("$argon2id$v=19$m=19456,t=4294967295,p=1${tail}")),
        ("parameters in another order", format!("$argon2id$v=19$t=2,m=19456,p=1${tail}")),
        ("a parameter twice", format!("$argon2id$v=19$m=19456,m=19456,t=2,p=1${tail}")),
        ("a leading zero", format!("$argon2id$v=19$m=019456,t=2,p=1${tail}")),
        ("associated data", format!("$argon2id$v=19$m=19456,t=2,p=1,data=AAAA${tail}")),
        ("no hash", good.rsplit_once('$').expect("parts").0.to_owned()),
        ("a short hash", good[..good.len() - 11].to_owned()),
        ("a short salt", format!("{head}AAAAAAAAAAA${}", good.rsplit_once('$').expect("parts").1)),
        ("a tail", format!("{good}$x")),
        ("bcrypt", "$2b$12$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghijkl".to_owned()),
        ("plain text", "correct horse battery".to_owned()),
    ] {
        let result = pool.verify(candidate("correct horse battery"), Some(&hash)).await;
        assert!(matches!(result, Err(PoolError::Fault(_))), "{attack}");
    }
    assert_eq!(pool.runs(), runs, "no attack cost a hash");
    let verified = pool.verify(candidate("correct horse battery"), Some(&good)).await.expect("verified");
    assert!(verified.right && !verified.outdated);
}

/// Two tries that differ in one bit of the password, one after the other in the same memory.
#[tokio::test]
async fn memory_that_is_used_again_carries_nothing_over() {
    let pool = pool().await;
    let first = pool.hash(candidate("correct horse battery").expect("fits")).await.expect("hashed");
    let second = pool.hash(candidate("correct horse battery").expect("fits")).await.expect("hashed");
    assert_ne!(first, second, "each has its own salt");
    for (password, right) in [("correct horse battery", true), ("correct horse batterz", false)] {
        for hash in [&first, &second] {
            let verified = pool.verify(candidate(password), Some(hash)).await.expect("verified");
            assert_eq!(verified.right, right, "{password}");
        }
    }
}

/// RFC 9106 §5.3 has a secret and associated data, which a PHC string of ours never has; this one is the reference
/// implementation's own, at a cost above our floor.
#[tokio::test]
async fn a_hash_of_the_reference_implementation_is_verified() {
    let hash = REFERENCE;
    let pool = pool().await;
    assert!(pool.verify(candidate("password"), Some(hash)).await.expect("verified").right);
    assert!(!pool.verify(candidate("Password"), Some(hash)).await.expect("verified").right);
}

/// `echo -n password | argon2 somesaltsomesalt -id -t 2 -k 19456 -p 1 -l 32 -e`
const REFERENCE: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$K13EBUiG7JV+9ZxztmHFTdb7J0WQsnj2V8bZaqyPptE";
