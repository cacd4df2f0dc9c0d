//! Which sealed cells a transaction changed, and what they were: SQLite tells it row by row.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::{self, Write as _},
};

use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use super::latch::quoted;
use crate::field::ColumnInfo;

/// The most rows with sealed columns that one transaction changes. An import's new rows do not count.
///
/// ```
/// use tower_ward::db::{MAX_CHANGED_ROWS, TxError};
///
/// let refused = TxError::TooManyRows.to_string();
/// assert!(refused.contains(&MAX_CHANGED_ROWS.to_string()), "{refused}");
/// ```
pub const MAX_CHANGED_ROWS: usize = 256;

/// In front of a table's name, where it is told that a row changed. No message begins so.
pub(super) const TOLD: &str = "d:";

/// A table with sealed columns, whose rows are named by one column of 16 bytes.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) table: &'static str,
    pub(super) key: String,
    pub(super) columns: Vec<&'static ColumnInfo>,
}

/// What is to be told of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Watching {
    /// Every row.
    #[default]
    All,
    /// Every row but the new ones: it is an import.
    Import,
    /// None: it is the library's own, and changes no value.
    Nothing,
}

/// The bytes of a cell; `None` is null.
pub(super) type Bytes = Option<Vec<u8>>;

/// A row as the transaction found it.
pub(super) struct TouchedRow {
    /// The place of its table among those that are watched.
    pub(super) table: usize,
    pub(super) key: [u8; 16],
    /// Whether it was there.
    pub(super) existed: bool,
    /// The cells that were changed, as they were; by the place of the column.
    pub(super) before: Vec<Option<Bytes>>,
}

/// What was told of a transaction.
#[derive(Default)]
pub(super) struct Touched {
    rows: BTreeMap<(usize, [u8; 16]), TouchedRow>,
    /// Of an import: those of which nothing is to be said.
    imported: HashSet<(usize, [u8; 16])>,
    too_many: bool,
}

/// Without the cells: a statement may have written something unsealed.
impl fmt::Debug for Touched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Touched").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl Touched {
    /// Takes one message: `n/<row>` for a new row, or `o/<row>/<cell>/…` for one that was changed or deleted, with its
    /// cells as they were: `=` for one that stays, `-` for null, or hexadecimal.
    ///
    /// The first that is told of a cell is what the transaction found, also if the statement that told it failed: every
    /// earlier change of the cell would have been told before.
    pub(super) fn take(&mut self, watching: Watching, table: usize, columns: usize, message: &str) {
        let mut parts = message.split('/');
        let (Some(kind), Some(key)) = (parts.next(), parts.next()) else { return };
        // Another row than one that a value can be sealed into.
        let Some(Ok(key)) = unhex(key).map(<[u8; 16]>::try_from) else { return };
        let id = (table, key);
        if kind == "n" && watching == Watching::Import && !self.rows.contains_key(&id) {
            self.imported.insert(id);
        }
        if watching == Watching::Nothing || self.imported.contains(&id) {
            return;
        }
        let before: Vec<Option<Bytes>> = parts
            .map(|cell| match cell {
                "=" => None,
                "-" => Some(None),
                hex => Some(unhex(hex)),
            })
            .collect();
        if kind == "o" && before.iter().all(Option::is_none) {
            return;
        }
        if self.rows.len() == MAX_CHANGED_ROWS && !self.rows.contains_key(&id) {
            self.too_many = true;
            return;
        }
        let row = self.rows.entry(id).or_insert_with(|| TouchedRow {
            table,
            key,
            existed: kind == "o",
            before: vec![None; columns],
        });
        if row.existed {
            for (known, told) in row.before.iter_mut().zip(before) {
                *known = known.take().or(told);
            }
        }
    }

    /// The rows, or `None` if there were too many.
    pub(super) fn into_rows(self) -> Option<Vec<TouchedRow>> {
        (!self.too_many).then(|| self.rows.into_values().collect())
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    data_encoding::HEXUPPER.decode(text.as_bytes()).ok()
}

impl Watched {
    /// The triggers that tell. They run after the row changed, so that what a trigger of the application's did to it on the
    /// way in is not missed.
    pub(super) fn triggers(&self, ask: &str, sql: &mut String) {
        let Self { table, key, columns } = self;
        let (name, key) = (format!("'{TOLD}{}'", table.to_ascii_lowercase().replace('\'', "''")), quoted(key));
        let cells = |stays: &str| {
            let cell = |column: &&&ColumnInfo| {
                let column = quoted(column.name());
                let stays = stays.replace('?', &column);
                format!("case {stays} when old.{column} is null then '-' else hex(old.{column}) end")
            };
            columns.iter().map(|column| cell(&column)).collect::<Vec<_>>().join(" || '/' || ")
        };
        let tell = |message: &str| format!("({message}) collate {ask} <> {name}");
        let new = tell(&format!("'n/' || hex(new.{key})"));
        let gone = tell(&format!("'o/' || hex(old.{key}) || '/' || {}", cells("")));
        let stays = format!("when old.{key} is new.{key} and old.? is new.? then '='");
        let changed = tell(&format!("'o/' || hex(old.{key}) || '/' || {}", cells(&stays)));
        let named: Vec<_> = columns.iter().map(|column| quoted(column.name())).chain([key.clone()]).collect();
        for (event, when) in [
            ("insert".to_owned(), new.clone()),
            ("delete".to_owned(), gone),
            (format!("update of {}", named.join(", ")), format!("{changed} or old.{key} is not new.{key} and {new}")),
        ] {
            let trigger = quoted(&format!("ward_told_{}_{table}", &event[..6]));
            let _ = write!(
                sql,
                "create temp trigger {trigger} after {event} on main.{} when {when}
                 begin select raise(abort, 'what this row was could not be told'); end;",
                quoted(table),
            );
        }
    }

    /// The row as it is now: its cells, or `None` if it is gone.
    pub(super) async fn read(
        &self,
        conn: &mut SqliteConnection,
        key: &[u8; 16],
    ) -> Result<Option<Vec<Bytes>>, sqlx::Error> {
        let cells: Vec<_> =
            self.columns.iter().map(|column| format!("cast({} as blob)", quoted(column.name()))).collect();
        let sql =
            format!("select {} from main.{} where {} = ?", cells.join(", "), quoted(self.table), quoted(&self.key));
        let row = sqlx::query(AssertSqlSafe(sql)).bind(key.to_vec()).fetch_optional(conn).await?;
        row.map(|row| (0..self.columns.len()).map(|n| row.try_get(n)).collect()).transpose()
    }
}
