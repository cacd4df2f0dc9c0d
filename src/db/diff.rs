//! What a transaction made of the rows with sealed columns that it changed, for the ledger.

use std::collections::BTreeSet;

use sqlx::{SqliteConnection, SqlitePool};

use super::{
    latch::Latch,
    touched::{Bytes, MAX_CHANGED_ROWS, RowKey, Watched, Watching},
    tx::TxError,
};
use crate::{
    access::{Owner, SealKey, Sealing},
    audit::{Action, AttemptId, RowChange},
    field::{Cell, ChangedCell, KeyNotYetKnown, seal},
    id::{RowId, TenantId},
};

/// Whose rows they are, and in which change.
pub(super) struct Sealer<'a> {
    pub(super) latch: &'a Latch,
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

    /// Looks at every row that was told of, as it was and as it is now, and seals what became of it.
    ///
    /// What it was is read on a connection of the library's own: while a transaction writes, nobody else does, so what
    /// that one sees is what the transaction found. No statement can say otherwise.
    pub(super) async fn changes(
        &self,
        before: &SqlitePool,
        now: &mut SqliteConnection,
    ) -> Result<Vec<RowChange>, TxError> {
        let (rows, watching) = self.latch.take_touched();
        let mut rows = rows.ok_or(TxError::TooManyRows)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut before = before.begin().await?;
        if watching == Watching::Import {
            rows = self.found(&mut before, &rows).await?;
        }
        if rows.len() > MAX_CHANGED_ROWS {
            return Err(TxError::TooManyRows);
        }
        let mut changes = Vec::new();
        // One at a time: a value may be long.
        for (table, key) in rows {
            let watched = &self.latch.watched()[table];
            let was = watched.read(&mut before, &key).await?;
            let is = watched.read(now, &key).await?;
            let action = match (&was, &is) {
                (Some(_), Some(_)) => Action::Update,
                (None, Some(_)) => Action::Create,
                (Some(_), None) => Action::Delete,
                // Made and taken away again.
                (None, None) => continue,
            };
            let (id, sealing) = (RowId::from_bytes(key), self.sealing()?);
            let cells = cells(&sealing, watched, was, is, id).map_err(|KeyNotYetKnown| TxError::KeyNotYetKnown)?;
            if cells.is_empty() {
                continue;
            }
            let records = seal(&sealing, self.attempt, watched.table, id, cells)
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

    /// Those of the rows that the transaction found.
    async fn found(&self, before: &mut SqliteConnection, rows: &BTreeSet<RowKey>) -> Result<BTreeSet<RowKey>, TxError> {
        let mut found = BTreeSet::new();
        for (n, watched) in self.latch.watched().iter().enumerate() {
            let keys: Vec<_> = rows.range((n, [0; 16])..=(n, [u8::MAX; 16])).map(|(_, key)| *key).collect();
            found.extend(watched.existing(before, &keys).await?.into_iter().map(|key| (n, key)));
        }
        Ok(found)
    }
}

/// The cells whose values changed.
fn cells(
    sealing: &Sealing<'_>,
    watched: &Watched,
    was: Option<Vec<Bytes>>,
    is: Option<Vec<Bytes>>,
    id: RowId,
) -> Result<Vec<ChangedCell>, KeyNotYetKnown> {
    let nothing = || vec![None; watched.columns.len()];
    let (was, is) = (was.unwrap_or_else(nothing), is.unwrap_or_else(nothing));
    let cells = watched.columns.iter().zip(was).zip(is);
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
