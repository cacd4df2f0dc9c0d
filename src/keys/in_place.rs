//! The AEADs by what they are used for, whichever library makes them: they seal and open where the text stands, with the
//! tag apart.

use aes_gcm::{KeyInit, aead::AeadInOut};

/// What was to be opened is not what was sealed, or what was to be sealed is longer than GCM takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// An AEAD under a key of 256 bits and a tag of 128, with an IV of so many bytes.
pub(crate) trait InPlace<const IV: usize>: Sized + 'static {
    /// Under this key, its schedule ready.
    fn keyed(key: &[u8; 32]) -> Self;

    /// Plaintext becomes ciphertext; gives its tag.
    fn seal(&self, iv: &[u8; IV], aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], Refused>;

    /// Ciphertext becomes plaintext if the tag verifies. What stands there if it does not is for nobody.
    fn open(&self, iv: &[u8; IV], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> Result<(), Refused>;
}

macro_rules! rust_crypto {
    ($($cipher:ty, $iv:literal;)+) => { $(
        impl InPlace<$iv> for $cipher {
            fn keyed(key: &[u8; 32]) -> Self {
                KeyInit::new(key.into())
            }

            fn seal(&self, iv: &[u8; $iv], aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], Refused> {
                self.encrypt_inout_detached(iv.into(), aad, text.into()).map(Into::into).map_err(|_| Refused)
            }

            fn open(&self, iv: &[u8; $iv], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> Result<(), Refused> {
                self.decrypt_inout_detached(iv.into(), aad, text.into(), tag.into()).map_err(|_| Refused)
            }
        }
    )+ };
}

rust_crypto! { aes_gcm::Aes256Gcm, 12; xaes_256_gcm::Xaes256Gcm, 24; }

/// AES-256-GCM by aws-lc. The library overwrites the expanded key when it frees it; what its code leaves in registers and
/// on the stack it does not.
#[cfg(feature = "aws-lc")]
pub(crate) struct AwsLc(aws_lc_rs::aead::LessSafeKey);

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::{AwsLc, InPlace, Refused};

    impl InPlace<12> for AwsLc {
        fn keyed(key: &[u8; 32]) -> Self {
            let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key of AES-256");
            Self(LessSafeKey::new(key))
        }

        fn seal(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], Refused> {
            let iv = Nonce::assume_unique_for_key(*iv);
            let tag = self.0.seal_in_place_separate_tag(iv, Aad::from(aad), text).map_err(|_| Refused)?;
            tag.as_ref().try_into().map_err(|_| Refused)
        }

        fn open(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> Result<(), Refused> {
            let iv = Nonce::assume_unique_for_key(*iv);
            self.0.open_in_place_separate_tag(iv, Aad::from(aad), tag, text).map(|_| ()).map_err(|_| Refused)
        }
    }
}
