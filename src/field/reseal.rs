//! Sealing a value anew under its owner's newest key, without knowing its type.

use super::{
    column::ColumnInfo,
    format::{Cipher, Defect, Names, Parts, Place},
    value::spare,
};
use crate::{access::Sealing, id::RowId};

/// Whether a sealed value was sealed under the key that seals now.
pub(crate) fn is_current(sealing: &Sealing<'_>, bytes: &[u8]) -> Result<bool, Defect> {
    Ok(Parts::parse(bytes)?.epoch() == sealing.key.epoch())
}

/// The same value under the key that seals now.
pub(crate) fn reseal(
    sealing: &Sealing<'_>,
    column: &ColumnInfo,
    row: RowId,
    bytes: &[u8],
) -> Result<Box<[u8]>, Defect> {
    let place = Place {
        tenant: sealing.tenant,
        subject: sealing.subject,
        names: &Names::new(column.class(), column.table(), column.name()),
        row,
    };
    let parts = Parts::parse(bytes)?;
    let plain = Cipher::opening(&sealing.key, column.class(), &parts)?.open(&place, &parts, spare())?;
    let bytes = plain.as_bytes();
    let sealed = Cipher::new(&sealing.key, column.class()).seal(&place, bytes.len(), |out| out.push(bytes));
    // What was sealed once is not too large.
    sealed.map_err(|_| Defect::TooLong)
}
