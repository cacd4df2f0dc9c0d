//! What a transaction made of the rows with sealed columns that it changed, for the ledger.

use std::collections::HashMap;

use sqlx::Row as _;
use uuid::Uuid;

use super::{
    PostgresDb,
    session::{Session, literal},
};
use crate::{
    audit::RowChange,
    db::{
        MAX_CHANGED_ROWS, TxError,
        change::Watching,
        clinics::quoted,
        seal::{Bytes, Sealer},
    },
};

/// A row that was changed, as the triggers of the owner's noted it: the application's role reaches neither them nor the note.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Touched {
    place: String,
    key: Uuid,
    /// The transaction made the row.
    made: bool,
    was: Option<Vec<Option<Vec<u8>>>>,
}

/// Looks at every row that was noted, as it was and as it is now, and seals what became of it.
pub(super) async fn changes(
    db: &PostgresDb,
    sealer: &Sealer<'_>,
    mut touched: Vec<Touched>,
    watching: Watching,
    now: &mut Session,
) -> Result<Vec<RowChange>, TxError> {
    if watching == Watching::Import {
        touched.retain(|row| !row.made);
    }
    if touched.len() > MAX_CHANGED_ROWS {
        return Err(TxError::TooManyRows);
    }
    let mut changes = Vec::new();
    for table in &db.0.sealed {
        let rows: Vec<_> = touched.extract_if(.., |row| row.place == table.table).collect();
        if rows.is_empty() {
            continue;
        }
        let keys: Vec<_> = rows.iter().map(|row| literal(&row.key.to_string())).collect();
        let key = quoted(&table.key);
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(column.name())).collect();
        let sql = format!(
            "select {key}, {} from public.{} where {key} in ({})",
            columns.join(", "),
            quoted(table.table),
            keys.join(", ")
        );
        let found = now.say(&sql).await?;
        let mut is: HashMap<Uuid, Vec<Bytes>> = HashMap::with_capacity(found.len());
        for row in found {
            let cells: Result<_, sqlx::Error> = (1..=columns.len()).map(|at| row.try_get(at)).collect();
            is.insert(row.try_get(0)?, cells?);
        }
        for Touched { key, made, was, .. } in rows {
            let was = if made { None } else { Some(was.unwrap_or_default()) };
            changes.extend(sealer.row(table.table, &table.columns, key.into_bytes(), was, is.remove(&key))?);
        }
    }
    Ok(changes)
}
