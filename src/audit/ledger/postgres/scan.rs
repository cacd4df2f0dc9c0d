//! Reading and checking the table.

use std::sync::Mutex;

use super::{
    PostgresLedger,
    conn::{Conn, PATIENCE},
    home::signed,
};
use crate::audit::{
    ledger::{
        Head, LedgerError,
        archive::{self, Archive, Chunk, Index},
        gate::lock,
        home::{Records, Visit},
        retention::{Dropping, Drops},
        scan::{Check, ScanError, Scanned, checked},
    },
    record::Hash,
    verify::{Fault, Known, Report, VerifyError},
};

/// The tables, to be read.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) place: PostgresLedger,
    pub(super) conn: Mutex<Conn>,
}

impl Records for Rows {
    fn check(&self, _: bool, most: usize, known: &[Head], visit: &mut Visit<'_>) -> Result<Scanned, ScanError> {
        // A connection of its own: this takes long, and pages are read meanwhile.
        let unusable = |error: std::io::Error| VerifyError::new(0, Fault::Unreadable(error.kind()));
        let mut conn = Conn::new(self.place.options.clone(), None).map_err(unusable)?;
        checked(most, known, visit, |check| self.read_at_once(&mut conn, check)).map(|((), scanned)| scanned)
    }

    fn turn(&self) -> Result<Option<Box<dyn std::any::Any>>, LedgerError> {
        super::prune::turn(&self.place)
    }

    fn drop_bodies(&self, drops: &Drops<'_>) -> Result<Dropping, LedgerError> {
        super::prune::drop_bodies(&self.place, drops)
    }

    fn archive<'a>(&'a self, end: u64, _: &'a Index) -> Box<dyn Archive + 'a> {
        Box::new(Table { rows: self, end })
    }

    fn checkpoint(&self) -> std::io::Result<Option<String>> {
        let statement = self.place.statement("select note from {schema}.checkpoint where size > 0");
        lock(&self.conn)
            .run(PATIENCE, async |conn| sqlx::query_scalar(statement).fetch_optional(conn).await)
            .map_err(std::io::Error::other)
    }
}

/// Records of one part.
const PART: u64 = 8_192;

/// The table, to be read in parts.
#[derive(Debug)]
struct Table<'a> {
    rows: &'a Rows,
    end: u64,
}

impl Archive for Table<'_> {
    fn end(&self) -> u64 {
        self.end
    }

    fn chunks(&self) -> Result<Vec<Chunk>, LedgerError> {
        let parts = (0..self.end.div_ceil(PART))
            .map(|part| Chunk { number: u32::try_from(part).unwrap_or(u32::MAX), first: part * PART });
        Ok(parts.collect())
    }

    fn read(&self, _: &Chunk, from: u64, until: u64, visit: &mut archive::Visit<'_>) -> Result<(), LedgerError> {
        let mut conn = lock(&self.rows.conn);
        let mut index = from;
        while index < until {
            let rows = self.rows.place.records_from(&mut conn, index, signed(until));
            let rows = rows.map_err(|source| LedgerError::Database { doing: "read", source: source.into() })?;
            if rows.is_empty() {
                return Err(VerifyError::new(index, Fault::Deleted).into());
            }
            for row in rows {
                if row.index != index {
                    return Err(VerifyError::new(index, Fault::Deleted).into());
                }
                if visit(index, &row.bytes)?.is_break() {
                    return Ok(());
                }
                index += 1;
            }
        }
        Ok(())
    }
}

impl Rows {
    /// Must be used outside any runtime, or on a thread that may block.
    pub(super) fn open(place: &PostgresLedger) -> std::io::Result<Self> {
        Ok(Self { place: place.clone(), conn: Mutex::new(Conn::new(place.options.clone(), None)?) })
    }

    /// All of it as it was at one moment: a body that goes while this reads is there, or the prune record that says so is.
    fn read_at_once(&self, conn: &mut Conn, check: &mut Check<'_, '_>) -> Result<(), ScanError> {
        let say = |text: &'static str, conn: &mut Conn| {
            conn.run(PATIENCE, async |conn| sqlx::raw_sql(text).execute(conn).await.map(drop))
        };
        say("begin isolation level repeatable read read only", conn).map_err(unreadable(check))?;
        let read = self.read(conn, check);
        // After an error there may be no connection, and so no transaction.
        let ended = say("rollback", conn);
        read.and_then(|()| ended.map_err(unreadable(check)))
    }

    fn read(&self, conn: &mut Conn, check: &mut Check<'_, '_>) -> Result<(), ScanError> {
        // What is added while this reads is left to the next reading.
        let until = self.size(conn).map_err(unreadable(check))?;
        let mut end = 0;
        loop {
            let rows = self.place.records_from(conn, check.size(), until).map_err(unreadable(check))?;
            let Some(last) = rows.last().map(|row| row.index) else { break };
            let mut batches = self.batches(conn, check.size(), last).map_err(unreadable(check))?.into_iter().peekable();
            for row in rows {
                if row.index != check.size() {
                    return Err(check.fault(Fault::Deleted));
                }
                if let Some((first, count, root)) = batches.next_if(|(first, ..)| *first == row.index) {
                    if first != end {
                        return Err(check.fault(Fault::Edited));
                    }
                    check.begin_batch(&root);
                    end = first + count;
                }
                if row.index >= end {
                    // It stands in no batch.
                    return Err(check.fault(Fault::Inserted));
                }
                if !row.is_itself() {
                    return Err(check.fault(Fault::Edited));
                }
                check.record(&row.bytes)?;
            }
            if batches.peek().is_some() {
                return Err(check.fault(Fault::Edited));
            }
        }
        if check.size() != end {
            return Err(check.fault(Fault::Truncated));
        }
        // A batch behind the end would keep everybody from writing there.
        if self.stray(conn, until).map_err(unreadable(check))? {
            return Err(check.fault(Fault::Inserted));
        }
        Ok(())
    }

    fn size(&self, conn: &mut Conn) -> Result<i64, sqlx::Error> {
        let statement = self.place.statement("select coalesce(max(idx) + 1, 0) from {schema}.records");
        conn.run(super::READING, async |conn| sqlx::query_scalar(statement).fetch_one(conn).await)
    }

    /// Whether a batch begins behind the last record, that was there when it was read.
    fn stray(&self, conn: &mut Conn, until: i64) -> Result<bool, sqlx::Error> {
        let statement = self.place.statement(
            "select exists (select 1 from {schema}.batches b where first >= $1
                and not exists (select 1 from {schema}.records r where r.idx = b.first))",
        );
        conn.run(super::READING, async |conn| sqlx::query_scalar(statement).bind(until).fetch_one(conn).await)
    }

    fn batches(&self, conn: &mut Conn, from: u64, last: u64) -> Result<Vec<(u64, u64, Hash)>, sqlx::Error> {
        let statement = self
            .place
            .statement("select first, count, root from {schema}.batches where first between $1 and $2 order by first");
        let rows: Vec<(i64, i32, Vec<u8>)> = conn.run(super::READING, async |conn| {
            sqlx::query_as(statement).bind(signed(from)).bind(signed(last)).fetch_all(conn).await
        })?;
        let batch = |(first, count, root): (i64, i32, Vec<u8>)| {
            (first.unsigned_abs(), u64::from(count.unsigned_abs()), root.try_into().unwrap_or([0; 32]))
        };
        Ok(rows.into_iter().map(batch).collect())
    }
}

fn unreadable(check: &Check<'_, '_>) -> impl Fn(sqlx::Error) -> ScanError {
    let index = check.size();
    move |error| {
        let kind = match error {
            sqlx::Error::Io(error) => error.kind(),
            // No such table, or no such schema.
            sqlx::Error::Database(error) if matches!(error.code().as_deref(), Some("42P01" | "3F000")) => {
                std::io::ErrorKind::NotFound
            }
            sqlx::Error::Database(_) => std::io::ErrorKind::PermissionDenied,
            _ => std::io::ErrorKind::Other,
        };
        VerifyError::new(index, Fault::Unreadable(kind)).into()
    }
}

/// Reads a ledger in PostgreSQL from its first record to its last and checks that it is as it was written, as
/// [`verify`](crate::audit::verify) does with a folder. Any role that may look will do.
///
/// Must be called outside a runtime, or by `spawn_blocking`.
///
/// ```no_run
/// use tower_ward::audit::{Head, Known, PostgresLedger, verify_postgres};
///
/// # fn check(kept: Head) -> Result<(), Box<dyn std::error::Error>> {
/// let place = PostgresLedger::new("postgres://auditor@db.clinic.example/ward?sslmode=verify-full")?;
/// let report = verify_postgres(&place, &Known::new().add_head(kept))?;
/// println!("{} records, head {}", report.records(), report.head());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The first record that is not as it was written, and what is wrong, as far as the table alone can tell.
pub fn verify_postgres(place: &PostgresLedger, known: &Known) -> Result<Report, VerifyError> {
    let rows = Rows::open(place).map_err(|error| VerifyError::new(0, Fault::Unreadable(error.kind())))?;
    known.check(&rows, false).map(|(report, _)| report)
}
