//! What a transaction made of a row with sealed columns, sealed for the ledger.

use super::TxError;
use crate::{
    access::{Owner, SealKey, Sealing},
    audit::{Action, AttemptId, RowChange},
    field::{Cell, ChangedCell, ColumnInfo, KeyNotYetKnown, seal},
    id::{RowId, TenantId},
};

/// The bytes of a cell; `None` is null.
pub(super) type Bytes = Option<Vec<u8>>;

/// Whose rows they are, and in which change.
pub(super) struct Sealer<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) owner: &'a Owner,
    pub(super) attempt: AttemptId,
}

impl Sealer<'_> {
    /// Fails if the key was withdrawn.
    fn sealing(&self) -> Result<Sealing<'_>, TxError> {
        let tenant = self.tenant;
        let (cut, subject, key) = match self.owner {
            Owner::Subject(subject, key) => (key.is_cut(), Some(*subject), SealKey::Subject(key)),
            Owner::Clinic(key) => (key.is_cut(), None, SealKey::Tenant(key)),
        };
        if cut { Err(TxError::Withdrawn) } else { Ok(Sealing { tenant, subject, key }) }
    }

    /// What became of one row: its cells as the transaction found them, or `None` if there was no such row, and as it leaves
    /// them. Nothing, if no value changed.
    pub(super) fn row(
        &self,
        table: &'static str,
        columns: &[&'static ColumnInfo],
        key: [u8; 16],
        was: Option<Vec<Bytes>>,
        is: Option<Vec<Bytes>>,
    ) -> Result<Vec<RowChange>, TxError> {
        let action = match (&was, &is) {
            (Some(_), Some(_)) => Action::Update,
            (None, Some(_)) => Action::Create,
            (Some(_), None) => Action::Delete,
            // Made and taken away again.
            (None, None) => return Ok(Vec::new()),
        };
        let (id, sealing) = (RowId::from_bytes(key), self.sealing()?);
        let cells = cells(&sealing, columns, was, is, id).map_err(|KeyNotYetKnown| TxError::KeyNotYetKnown)?;
        if cells.is_empty() {
            return Ok(Vec::new());
        }
        let records = seal(&sealing, self.attempt, table, id, cells)
            .expect("the values were sealed fields, and the room in a record is far below the bound of one");
        Ok(records.into_iter().map(|changes| RowChange { action, entity: table, row: id, changes }).collect())
    }
}

/// The cells whose values changed.
fn cells(
    sealing: &Sealing<'_>,
    columns: &[&'static ColumnInfo],
    was: Option<Vec<Bytes>>,
    is: Option<Vec<Bytes>>,
    id: RowId,
) -> Result<Vec<ChangedCell>, KeyNotYetKnown> {
    let nothing = || vec![None; columns.len()];
    let (was, is) = (was.unwrap_or_else(nothing), is.unwrap_or_else(nothing));
    let cells = columns.iter().copied().zip(was).zip(is);
    cells
        .filter_map(|((column, before), after)| {
            if before == after {
                return None;
            }
            let open = |bytes: &Bytes| Cell::open(sealing, column, id, bytes.as_deref());
            let cell = open(&before).and_then(|before| Ok(ChangedCell::new(column, before, open(&after)?)));
            cell.map(|cell| Some(cell).filter(ChangedCell::is_change)).transpose()
        })
        .collect()
}
