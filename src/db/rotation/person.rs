//! One person's values: which of them an old key sealed, and sealing those anew.

use sqlx::{AssertSqlSafe, Row as _};

use super::RotationError;
use crate::{
    access::{Changes, DoorError, Permission, SubjectGrant},
    db::{
        Db,
        files::{File, Sealed},
        latch::quoted,
    },
    field::{is_current, reseal},
    id::RowId,
    trace,
};

/// How many rows of a table are looked at at a time.
const ROWS: i64 = 100;

/// Whether the permission may handle everything that people's rows hold.
pub(super) fn check<P: Permission>(file: &File) -> Result<(), RotationError> {
    for table in &file.sealed {
        for column in &table.columns {
            if !P::OPENS.contains(&column.class()) {
                return Err(RotationError::Permission { permission: P::ID, class: column.class() });
            }
        }
    }
    Ok(())
}

/// How many sealed values people's rows hold.
pub(super) async fn count(file: &File) -> Result<u64, RotationError> {
    let mut values = 0;
    for table in &file.sealed {
        for column in &table.columns {
            let (table, column) = (quoted(table.table), quoted(column.name()));
            let sql = format!("select count({column}) from main.{table}");
            let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&file.readers).await?;
            values += u64::try_from(count).unwrap_or(0);
        }
    }
    Ok(values)
}

/// How many values of a person were sealed anew, and how many did not open.
pub(super) async fn reseal_person<P: Changes>(
    db: &Db,
    chart: &SubjectGrant<P>,
    file: &File,
) -> Result<(u64, u64), RotationError> {
    let (mut values, mut damaged) = (0, 0);
    for table in &file.sealed {
        let key = table.key.as_str();
        let mut after = None;
        loop {
            let rows = stale(db, chart, table, key, after.as_deref()).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id.clone());
            let rows: Vec<_> = rows.into_iter().filter(|row| !row.values.is_empty()).collect();
            if rows.is_empty() {
                continue;
            }
            let mut tx = db.reseal(chart).await?;
            for row in rows {
                let id = <[u8; 16]>::try_from(row.id.as_slice()).map(RowId::from_bytes);
                for (at, old) in row.values {
                    let column = table.columns[at];
                    let sealing = chart.sealing_any().map_err(DoorError::from)?;
                    let new = id.ok().and_then(|id| match reseal(&sealing, column, id, &old) {
                        Ok(new) => Some(new),
                        Err(defect) => {
                            trace::event!(warn, table = table.table, column = column.name(), why = %defect,
                                "a value did not open, and was left as it is");
                            None
                        }
                    });
                    let Some(new) = new else {
                        damaged += 1;
                        continue;
                    };
                    let (name, column) = (quoted(table.table), quoted(column.name()));
                    // Only what was read: somebody may have written it since.
                    let sql = format!("update main.{name} set {column} = ? where {} = ? and {column} = ?", quoted(key));
                    let done = sqlx::query(AssertSqlSafe(sql))
                        .bind(new.into_vec())
                        .bind(&row.id)
                        .bind(old)
                        .execute(tx.conn())
                        .await?;
                    values += done.rows_affected();
                }
            }
            tx.commit().await?;
        }
    }
    Ok((values, damaged))
}

/// Whether a value of this person is still sealed under an old key.
pub(super) async fn is_stale<P: Changes>(db: &Db, chart: &SubjectGrant<P>, file: &File) -> Result<bool, RotationError> {
    for table in &file.sealed {
        let key = table.key.as_str();
        let mut after = None;
        loop {
            let rows = stale(db, chart, table, key, after.as_deref()).await?;
            if rows.iter().any(|row| !row.values.is_empty()) {
                return Ok(true);
            }
            match rows.last() {
                Some(last) => after = Some(last.id.clone()),
                None => break,
            }
        }
    }
    Ok(false)
}

/// A row, and those of its sealed values that an old key sealed, each with the number of its column.
struct Stale {
    id: Vec<u8>,
    values: Vec<(usize, Vec<u8>)>,
}

/// The next rows of a person in a table, all of them, in the order of their keys.
async fn stale<P: Changes>(
    db: &Db,
    chart: &SubjectGrant<P>,
    table: &Sealed,
    key: &str,
    after: Option<&[u8]>,
) -> Result<Vec<Stale>, RotationError> {
    let columns: Vec<_> = table.columns.iter().map(|column| quoted(column.name())).collect();
    let sql = format!(
        "select {key}, {columns} from main.{table} where {person} = ? {after} order by {key} limit {ROWS}",
        key = quoted(key),
        columns = columns.join(", "),
        table = quoted(table.table),
        person = quoted(table.person),
        after = after.map_or_else(String::new, |_| format!("and {} > ?", quoted(key))),
    );
    let mut tx = db.read(chart).await?;
    let query = sqlx::query(AssertSqlSafe(sql)).bind(chart.subject());
    let query = match after {
        Some(after) => query.bind(after),
        None => query,
    };
    let rows = query.fetch_all(tx.conn()).await?;
    let sealing = chart.sealing_any().map_err(DoorError::from)?;
    rows.iter()
        .map(|row| {
            let mut values = Vec::new();
            for at in 0..columns.len() {
                let value: Option<Vec<u8>> = row.try_get(at + 1)?;
                // What is no sealed value at all is damaged, and shows when it is to be opened.
                if let Some(value) = value.filter(|value| !matches!(is_current(&sealing, value), Ok(true))) {
                    values.push((at, value));
                }
            }
            Ok(Stale { id: row.try_get(0)?, values })
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(Into::into)
}
