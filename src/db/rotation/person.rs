//! One person's values: which of them an old key sealed, and sealing those anew.

use super::RotationError;
use crate::{
    access::{Changes, DoorError, Permission, SubjectGrant},
    db::{
        Clinics,
        clinics::{PeopleTable, quoted},
    },
    field::{is_current, reseal},
    id::{RowId, TenantId},
    trace,
};

/// How many rows of a table are looked at at a time.
const ROWS: i64 = 100;

/// Whether the permission may handle everything that people's rows hold.
pub(super) fn check<P: Permission>(tables: &[PeopleTable]) -> Result<(), RotationError> {
    for table in tables {
        for column in &table.columns {
            if !P::OPENS.contains(&column.class()) {
                return Err(RotationError::Permission { permission: P::ID, class: column.class() });
            }
        }
    }
    Ok(())
}

/// How many sealed values people's rows hold.
pub(super) async fn count<D: Clinics>(db: &D, tenant: &TenantId, tables: &[PeopleTable]) -> Result<u64, RotationError> {
    let mut values = 0;
    for table in tables {
        for column in &table.columns {
            let (table, column) = (quoted(table.table), quoted(column.name()));
            let sql = format!("select count({column}) from {}{table}", D::PLACE);
            let count = db.number(tenant, sql).await?;
            values += u64::try_from(count).unwrap_or(0);
        }
    }
    Ok(values)
}

/// How many values of a person were sealed anew, and how many did not open.
pub(super) async fn reseal_person<D: Clinics, P: Changes>(
    db: &D,
    chart: &SubjectGrant<P>,
    tables: &[PeopleTable],
) -> Result<(u64, u64), RotationError> {
    let (mut values, mut damaged) = (0, 0);
    for table in tables {
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
            let mut tx = db.begin_reseal(chart).await?;
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
                    let sql = format!(
                        "update {}{name} set {column} = $1 where {} = $2 and {column} = $3",
                        D::PLACE,
                        quoted(key)
                    );
                    values += D::replace(&mut tx, sql, new.into_vec(), &row.id, old).await?;
                }
            }
            D::commit(tx).await?;
        }
    }
    Ok((values, damaged))
}

/// Whether a value of this person is still sealed under an old key.
pub(super) async fn is_stale<D: Clinics, P: Changes>(
    db: &D,
    chart: &SubjectGrant<P>,
    tables: &[PeopleTable],
) -> Result<bool, RotationError> {
    for table in tables {
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
async fn stale<D: Clinics, P: Changes>(
    db: &D,
    chart: &SubjectGrant<P>,
    table: &PeopleTable,
    key: &str,
    after: Option<&[u8]>,
) -> Result<Vec<Stale>, RotationError> {
    let columns: Vec<_> = table.columns.iter().map(|column| quoted(column.name())).collect();
    let sql = format!(
        "select {key}, {columns} from {place}{table} where {person} = $1 {after} order by {key} limit {ROWS}",
        key = quoted(key),
        place = D::PLACE,
        columns = columns.join(", "),
        table = quoted(table.table),
        person = quoted(table.person),
        after = after.map_or_else(String::new, |_| format!("and {} > $2", quoted(key))),
    );
    let rows = db.rows(chart, sql, chart.subject(), after, columns.len()).await?;
    let sealing = chart.sealing_any().map_err(DoorError::from)?;
    // What is no sealed value at all is damaged, and shows when it is to be opened.
    let is_old = |value: &Vec<u8>| !matches!(is_current(&sealing, value), Ok(true));
    let stale = |cells: Vec<Option<Vec<u8>>>| {
        cells.into_iter().enumerate().filter_map(|(at, value)| Some((at, value.filter(is_old)?))).collect()
    };
    Ok(rows.into_iter().map(|(id, cells)| Stale { id, values: stale(cells) }).collect())
}
