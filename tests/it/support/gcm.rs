//! GCM commits to no key: one ciphertext and tag that open under two. The library's own tests take this file, too.

use aes_gcm::{
    KeyInit,
    aes::{Aes256, cipher::BlockCipherEncrypt},
};

/// A ciphertext of 32 bytes and its tag that AES-256-GCM opens under both keys, each to bytes of its own, with the same
/// IV and associated data.
pub(crate) fn opens_under_both(keys: [&[u8; 32]; 2], iv: &[u8; 12], aad: &[u8]) -> ([u8; 32], [u8; 16]) {
    let [one, two] = keys.map(|key| Ghash::new(key, iv));
    let mut ciphertext = [0x5a; 32];
    ciphertext[16..].fill(0);
    // The tags differ by a linear function of the second block: solve for the block that makes them equal.
    let difference = one.tag(aad, &ciphertext) ^ two.tag(aad, &ciphertext);
    let coefficient = multiply(one.h, one.h) ^ multiply(two.h, two.h);
    ciphertext[16..].copy_from_slice(&multiply(difference, invert(coefficient)).to_be_bytes());
    (ciphertext, one.tag(aad, &ciphertext).to_be_bytes())
}

/// GHASH (SP 800-38D §6.4) under a key, and what masks it.
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
        let lengths = (u128::try_from(aad.len()).expect("bytes in memory") * 8) << 64 | 256;
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
