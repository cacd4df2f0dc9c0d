//! What a transaction made of the rows with sealed columns that it changed, for the ledger.

use std::collections::BTreeSet;

use sqlx::{SqliteConnection, SqlitePool};

use super::{latch::Latch, touched::RowKey};
use crate::{
    audit::RowChange,
    db::{MAX_CHANGED_ROWS, TxError, change::Watching, seal::Sealer},
};

/// Looks at every row that was told of, as it was and as it is now, and seals what became of it.
///
/// What it was is read on a connection of the library's own: while a transaction writes, nobody else does, so what
/// that one sees is what the transaction found. No statement can say otherwise.
pub(super) async fn changes(
    latch: &Latch,
    sealer: &Sealer<'_>,
    before: &SqlitePool,
    now: &mut SqliteConnection,
) -> Result<Vec<RowChange>, TxError> {
    let (rows, watching) = latch.take_touched();
    let mut rows = rows.ok_or(TxError::TooManyRows)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut before = before.begin().await?;
    if watching == Watching::Import {
        rows = found(latch, &mut before, &rows).await?;
    }
    if rows.len() > MAX_CHANGED_ROWS {
        return Err(TxError::TooManyRows);
    }
    let mut changes = Vec::new();
    // One at a time: a value may be long.
    for (table, key) in rows {
        let watched = &latch.watched()[table];
        let was = watched.read(&mut before, &key).await?;
        let is = watched.read(now, &key).await?;
        changes.extend(sealer.row(watched.table, &watched.columns, key, was, is)?);
    }
    Ok(changes)
}

/// Those of the rows that the transaction found.
async fn found(
    latch: &Latch,
    before: &mut SqliteConnection,
    rows: &BTreeSet<RowKey>,
) -> Result<BTreeSet<RowKey>, TxError> {
    let mut found = BTreeSet::new();
    for (n, watched) in latch.watched().iter().enumerate() {
        let keys: Vec<_> = rows.range((n, [0; 16])..=(n, [u8::MAX; 16])).map(|(_, key)| *key).collect();
        found.extend(watched.existing(before, &keys).await?.into_iter().map(|key| (n, key)));
    }
    Ok(found)
}
