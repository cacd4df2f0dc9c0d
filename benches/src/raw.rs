//! AES-256-GCM by the library that this build seals with, as that library has it: the floor of the group `field`.

pub(crate) use library::{NAME, Raw};

#[cfg(not(feature = "aws-lc"))]
mod library {
    use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};

    pub(crate) const NAME: &str = "aes-gcm";

    pub(crate) struct Raw(Aes256Gcm);

    impl Raw {
        pub(crate) fn new(key: &[u8; 32]) -> Self {
            Self(Aes256Gcm::new(key.into()))
        }

        pub(crate) fn seal(&self, iv: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
            self.0.encrypt_inout_detached(&iv.into(), aad, text.into()).expect("sealed").into()
        }

        pub(crate) fn open(&self, iv: [u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) {
            self.0.decrypt_inout_detached(&iv.into(), aad, text.into(), tag.into()).expect("opened");
        }
    }
}

#[cfg(feature = "aws-lc")]
mod library {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    pub(crate) const NAME: &str = "aws-lc-rs";

    pub(crate) struct Raw(LessSafeKey);

    impl Raw {
        pub(crate) fn new(key: &[u8; 32]) -> Self {
            Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key")))
        }

        pub(crate) fn seal(&self, iv: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
            let iv = Nonce::assume_unique_for_key(iv);
            let tag = self.0.seal_in_place_separate_tag(iv, Aad::from(aad), text).expect("sealed");
            tag.as_ref().try_into().expect("sixteen bytes")
        }

        pub(crate) fn open(&self, iv: [u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) {
            let iv = Nonce::assume_unique_for_key(iv);
            self.0.open_in_place_separate_tag(iv, Aad::from(aad), tag, text).expect("opened");
        }
    }
}
