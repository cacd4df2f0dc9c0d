//! Which rows with sealed cells a transaction changed: SQLite tells it row by row.

use std::{collections::BTreeSet, fmt::Write as _};

use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::{
    db::{MAX_CHANGED_ROWS, change::Watching, clinics::quoted, seal::Bytes},
    field::ColumnInfo,
};

/// In front of a table's name, where it is told that a row changed. No message begins so.
pub(super) const TOLD: &str = "d:";

/// How many rows are looked for at once.
const AT_ONCE: usize = 256;

/// A table with sealed columns, whose rows are named by one column of 16 bytes.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) table: &'static str,
    pub(super) key: String,
    pub(super) columns: Vec<&'static ColumnInfo>,
}

/// A row of which it was told: the place of its table among those that are watched, and its key.
pub(super) type RowKey = (usize, [u8; 16]);

/// What was told of a transaction: which rows, and nothing of what stands in them. Any statement can tell of a row, so
/// what one was is read from the file and never taken from a message. To tell of a row that did not change does nothing.
#[derive(Debug, Default)]
pub(super) struct Touched {
    rows: BTreeSet<RowKey>,
    too_many: bool,
}

impl Touched {
    /// Takes one message: the key of a row that is new, changed or gone, in hexadecimal. Says whether it is a row's.
    ///
    /// An import's rows are counted when it is known which of them are new.
    pub(super) fn take(&mut self, watching: Watching, table: usize, message: &str) -> bool {
        let Some(Ok(key)) = unhex(message).map(<[u8; 16]>::try_from) else { return false };
        match watching {
            Watching::Nothing => {}
            Watching::All if self.rows.len() == MAX_CHANGED_ROWS && !self.rows.contains(&(table, key)) => {
                self.too_many = true;
            }
            Watching::All | Watching::Import => drop(self.rows.insert((table, key))),
        }
        true
    }

    /// The rows, or `None` if there were too many.
    pub(super) fn into_rows(self) -> Option<BTreeSet<RowKey>> {
        (!self.too_many).then_some(self.rows)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    data_encoding::HEXUPPER.decode(text.as_bytes()).ok()
}

impl Watched {
    /// The triggers that tell. They run after the row changed, so that what a trigger of the application's did to it on the
    /// way in is not missed. They let no new row in that no value can be sealed into.
    pub(super) fn triggers(&self, ask: &str, sql: &mut String) {
        let Self { table, key, columns } = self;
        let (name, key) = (format!("'{TOLD}{}'", table.to_ascii_lowercase().replace('\'', "''")), quoted(key));
        let tell = |version: &str| format!("hex({version}.{key}) collate {ask} <> {name}");
        let new = format!("typeof(new.{key}) <> 'blob' or length(new.{key}) <> 16 or {}", tell("new"));
        // A row of an older file whose key is none may go: no value of it ever opened.
        let old = format!("typeof(old.{key}) = 'blob' and length(old.{key}) = 16 and {}", tell("old"));
        let named: Vec<_> = columns.iter().map(|column| quoted(column.name())).chain([key.clone()]).collect();
        let differs: Vec<_> = named.iter().map(|column| format!("old.{column} is not new.{column}")).collect();
        let updated = format!("({}) and ({old} or {new})", differs.join(" or "));
        for (event, when) in [
            ("insert".to_owned(), new),
            ("delete".to_owned(), old),
            (format!("update of {}", named.join(", ")), updated),
        ] {
            let trigger = quoted(&format!("ward_told_{}_{table}", &event[..6]));
            let _ = write!(
                sql,
                "create temp trigger {trigger} after {event} on main.{} when {when}
                 begin select raise(abort, 'the key of a row with sealed columns must be a blob of 16 bytes'); end;",
                quoted(table),
            );
        }
    }

    /// The row: its cells, or `None` if there is none.
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

    /// Those of these rows that there are.
    pub(super) async fn existing(
        &self,
        conn: &mut SqliteConnection,
        keys: &[[u8; 16]],
    ) -> Result<Vec<[u8; 16]>, sqlx::Error> {
        let (table, key) = (quoted(self.table), quoted(&self.key));
        let mut found = Vec::new();
        for keys in keys.chunks(AT_ONCE) {
            let marks = vec!["?"; keys.len()].join(", ");
            let sql = format!("select {key} from main.{table} where {key} in ({marks})");
            let mut query = sqlx::query_scalar::<_, Vec<u8>>(AssertSqlSafe(sql));
            for key in keys {
                query = query.bind(key.to_vec());
            }
            found.extend(
                query.fetch_all(&mut *conn).await?.into_iter().filter_map(|key| <[u8; 16]>::try_from(key).ok()),
            );
        }
        Ok(found)
    }
}
