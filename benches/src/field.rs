//! Sealed columns and blind indexes, against the primitives that they stand on.

use aes_gcm::{Aes256Gcm, KeyInit, Nonce, aead::AeadInOut};
use sha2::{Digest, Sha256};
use tower_ward::{
    field::{BlindIndex, Encrypted},
    id::RowId,
};

use crate::{
    bench::{Attachment, Bench, Family, NoteText, WriteNotes},
    ratio::{Effort, Row, Target, row},
};

/// 56 bytes, as the associated data of the format has about.
const AAD: [u8; 56] = [7; 56];

pub(crate) async fn rows(effort: Effort) -> Vec<Row> {
    let bench = Bench::new().await;
    let (chart, _closer) = bench.chart::<WriteNotes>().await;
    let id = RowId::generate(&*bench.clock);
    let cipher = Aes256Gcm::new(&[3; 32].into());
    let mut counter = 0_u64;
    let mut nonce = move || {
        counter += 1;
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&counter.to_le_bytes());
        Nonce::from(bytes)
    };
    let mut rows = Vec::new();

    let text = "x".repeat(64);
    let mut buffer = [0_u8; 64];
    rows.push(row(
        effort,
        "seal 64 B / raw AES-256-GCM in place, counter IV",
        Target::AtMost(1.35),
        || cipher.encrypt_inout_detached(&nonce(), &AAD, buffer.as_mut_slice().into()).expect("sealed"),
        || Encrypted::<NoteText>::seal(&text, &chart, id).expect("sealed"),
    ));
    let sealed = Encrypted::<NoteText>::seal(&text, &chart, id).expect("sealed");
    let iv = Nonce::from([9; 12]);
    let mut plain = [b'x'; 64];
    let tag = cipher.encrypt_inout_detached(&iv, &AAD, plain.as_mut_slice().into()).expect("sealed");
    rows.push(row(
        effort,
        "open 64 B / raw AES-256-GCM in place",
        Target::AtMost(1.15),
        || {
            let mut copy = plain;
            cipher.decrypt_inout_detached(&iv, &AAD, copy.as_mut_slice().into(), &tag).expect("opened");
            copy
        },
        || sealed.open(&chart, id).expect("opened"),
    ));

    let attachment = vec![5_u8; 64 << 10];
    let mut large = attachment.clone();
    rows.push(row(
        effort,
        "seal 64 KiB / raw AES-256-GCM in place",
        Target::AtMost(1.05),
        || cipher.encrypt_inout_detached(&Nonce::from([1; 12]), &AAD, large.as_mut_slice().into()).expect("sealed"),
        || Encrypted::<Attachment>::seal(&attachment, &chart, id).expect("sealed"),
    ));

    let family = "quillfeather-featherstonehaugh-a".to_owned();
    rows.push(row(
        effort,
        "blind index of 32 B / two compressions of SHA-256",
        Target::AtMost(1.45),
        || (Sha256::digest([1_u8; 32]), Sha256::digest([2_u8; 32])),
        || BlindIndex::<Family>::of(&family, &chart).expect("indexed"),
    ));
    rows
}
