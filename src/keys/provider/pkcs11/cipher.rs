//! What is asked of the key: `CKM_AES_GCM`, and the bytes that hold what it gave.

use cryptoki::{
    error::Error,
    mechanism::{Mechanism, aead::GcmParams},
};
use zeroize::Zeroizing;

use super::{
    super::{
        KeyBytes,
        ProviderErrorKind::{Denied, Garbled, Unavailable},
    },
    fault::{Fault, Then, UNEXPECTED_LENGTH},
    token::Live,
};
use crate::{
    entropy,
    secret::{ExposeSecret as _, Secret, equal},
};

const FORMAT: u8 = 1;
const IV: usize = 12;
const KEY: usize = 32;
const TAG: usize = 16;
const TAG_BITS: u64 = 128;

/// A wrapped key: format 1, IV, ciphertext, tag.
pub(super) type Blob = [u8; 1 + IV + KEY + TAG];

/// The bytes, if they could be a wrapped key.
pub(super) fn parse(wrapped: &[u8]) -> Option<Blob> {
    let blob: Blob = wrapped.try_into().ok()?;
    (blob[0] == FORMAT).then_some(blob)
}

pub(super) fn wrap(live: &Live, key: &KeyBytes, aad: &[u8]) -> Result<Vec<u8>, Fault> {
    usable(live)?;
    let mut iv = entropy::array::<IV>();
    let sealed = encrypt(live, &mut iv, aad, key.expose_secret())?;
    let mut blob = Vec::with_capacity(size_of::<Blob>());
    blob.push(FORMAT);
    blob.extend_from_slice(&iv);
    blob.extend_from_slice(&sealed);
    Ok(blob)
}

pub(super) fn unwrap(live: &Live, blob: &Blob, aad: &[u8]) -> Result<KeyBytes, Fault> {
    usable(live)?;
    let (iv, sealed) = blob[1..].split_first_chunk::<IV>().expect("a blob has room for an IV");
    let opened = decrypt(live, *iv, aad, sealed)?;
    Ok(Secret::init_with_mut(|key: &mut [u8; KEY]| key.copy_from_slice(&opened[..])))
}

/// Seals something and opens it again: whether this session is fit to say that other bytes are not its own.
pub(super) fn probe(live: &Live) -> Result<(), Fault> {
    let unfit = |what| Fault::new(Unavailable, Then::Reopen, what);
    let (mut iv, asked, aad) = (entropy::array::<IV>(), entropy::array::<KEY>(), entropy::array::<KEY>());
    let what = "the token does not open what it sealed itself: look at it, and at the log of its module";
    let sealed = encrypt(live, &mut iv, &aad, &asked).map_err(|_| unfit(what))?;
    let opened = decrypt(live, iv, &aad, &sealed).map_err(|_| unfit(what))?;
    if equal(&opened[..], &asked) { Ok(()) } else { Err(unfit(what)) }
}

/// A key that must not be used is looked at again before that is said: it may have been put right.
pub(super) fn usable(live: &Live) -> Result<(), Fault> {
    live.refusal.map_or(Ok(()), |what| Err(Fault::new(Denied, Then::Reopen, what)))
}

/// Ciphertext and tag. A token that insists on an IV of its own (FIPS 140, IG C.H) puts it in the place of ours.
fn encrypt(live: &Live, iv: &mut [u8; IV], aad: &[u8], plain: &[u8; KEY]) -> Result<[u8; KEY + TAG], Fault> {
    let sealed = live.session.encrypt(&gcm(iv, aad)?, live.key, plain)?;
    sealed.try_into().map_err(|_| Fault::new(Garbled, Then::Close, UNEXPECTED_LENGTH))
}

fn decrypt(live: &Live, mut iv: [u8; IV], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let opened = Zeroizing::new(live.session.decrypt(&gcm(&mut iv, aad)?, live.key, sealed)?);
    if opened.len() == KEY { Ok(opened) } else { Err(Fault::new(Garbled, Then::Close, UNEXPECTED_LENGTH)) }
}

fn gcm<'a>(iv: &'a mut [u8; IV], aad: &'a [u8]) -> Result<Mechanism<'a>, Error> {
    Ok(Mechanism::AesGcm(GcmParams::new(iv, aad, TAG_BITS.into())?))
}
