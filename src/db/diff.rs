//! What a transaction made of the rows with sealed columns that it changed, for the ledger.

use sqlx::SqliteConnection;

use super::{
    latch::Latch,
    touched::{Bytes, TouchedRow, Watched},
    tx::TxError,
};
use crate::{
    access::{Owner, SealKey, Sealing},
    audit::{Action, AttemptId, RowChange},
    field::{Cell, ChangedCell, seal},
    id::{RowId, TenantId},
};

/// Fails if the key was withdrawn.
fn sealing<'a>(owner: &'a Owner, tenant: &'a TenantId) -> Result<Sealing<'a>, TxError> {
    let (cut, subject, key) = match owner {
        Owner::Subject(subject, key) => (key.is_cut(), Some(*subject), SealKey::Subject(key)),
        Owner::Clinic(key) => (key.is_cut(), None, SealKey::Tenant(key)),
    };
    if cut { Err(TxError::Withdrawn) } else { Ok(Sealing { tenant, subject, key }) }
}

/// Looks at every row that was told of, and seals what became of it.
pub(super) async fn changes(
    conn: &mut SqliteConnection,
    latch: &Latch,
    tenant: &TenantId,
    owner: &Owner,
    attempt: AttemptId,
) -> Result<Vec<RowChange>, TxError> {
    let mut changes = Vec::new();
    for row in latch.take_touched().ok_or(TxError::TooManyRows)? {
        let watched = &latch.watched()[row.table];
        let now = watched.read(conn, &row.key).await?;
        let sealing = sealing(owner, tenant)?;
        let action = match (row.existed, &now) {
            (true, Some(_)) => Action::Update,
            (false, Some(_)) => Action::Create,
            (true, None) => Action::Delete,
            // Made and taken away again.
            (false, None) => continue,
        };
        let id = RowId::from_bytes(row.key);
        let cells = cells(&sealing, watched, row, now, id);
        if cells.is_empty() {
            continue;
        }
        let records = seal(&sealing, attempt, watched.table, id, cells)
            .expect("the values were sealed fields, and the room in a record is far below the bound of one");
        changes.extend(records.into_iter().map(|changes| RowChange {
            action,
            entity: watched.table,
            row: id,
            changes,
        }));
    }
    Ok(changes)
}

/// The cells whose values changed.
fn cells(
    sealing: &Sealing<'_>,
    watched: &Watched,
    row: TouchedRow,
    now: Option<Vec<Bytes>>,
    id: RowId,
) -> Vec<ChangedCell> {
    let now = now.unwrap_or_else(|| vec![None; watched.columns.len()]);
    let cells = watched.columns.iter().zip(row.before).zip(now);
    cells
        .filter_map(|((column, before), after)| {
            // Of a row that was there, only the cells that were told of can have changed.
            let before = if row.existed { before? } else { None };
            if before == after {
                return None;
            }
            let open = |bytes: &Bytes| Cell::open(sealing, column, id, bytes.as_deref());
            Some(ChangedCell::new(column, open(&before), open(&after))).filter(ChangedCell::is_change)
        })
        .collect()
}
