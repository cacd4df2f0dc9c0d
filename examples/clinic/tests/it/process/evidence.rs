//! What a server leaves behind: its ledger and its clinics' files, read from outside.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tower_ward::audit::{Kind, Outcome, Record};
use uuid::Uuid;

use super::within;

/// The records of a ledger, read from its files by their documented layout and not by the code that wrote them.
pub(crate) struct Records {
    ledger: PathBuf,
    segment: u32,
    offset: u64,
    pub(crate) all: Vec<Record>,
}

/// `docs/ledger.md`: the bytes of a segment's header, of a batch's header and of a frame's.
const HEADER: u64 = 128;
const BATCH: usize = 64;
const FRAME: usize = 8;

impl Records {
    pub(crate) fn of(ledger: &Path) -> Self {
        Self { ledger: ledger.to_owned(), segment: 0, offset: HEADER, all: Vec::new() }
    }

    /// Reads what was written since, and returns it.
    pub(crate) fn read_on(&mut self) -> &[Record] {
        let mut before = self.all.len();
        loop {
            let mut file = File::open(self.path(self.segment)).unwrap();
            while let Some(batch) = self.batch(&mut file) {
                let mut frames = &batch[..];
                while let Some((head, rest)) = frames.split_first_chunk::<FRAME>() {
                    let (record, rest) = rest.split_at(u32_at(head, 0) as usize);
                    self.all.push(Record::from_bytes(record).unwrap());
                    assert_eq!(self.all.len() as u64, self.all[self.all.len() - 1].index() + 1);
                    frames = rest;
                }
                self.offset += (BATCH + batch.len()) as u64;
            }
            if !self.path(self.segment + 1).exists() {
                return &self.all[before..];
            }
            (self.segment, self.offset) = (self.segment + 1, HEADER);
            // What stands in the segment before from the first index of this one on is void: a sync had failed.
            let first = usize::try_from(self.first()).unwrap();
            assert!(first <= self.all.len(), "records are missing before segment {}", self.segment);
            self.all.truncate(first);
            before = before.min(first);
        }
    }

    /// Waits until each change has an outcome, while the server runs.
    pub(crate) async fn until_settled(&mut self) {
        within(async {
            loop {
                self.read_on();
                let count = |kind| self.all.iter().filter(|record| record.kind() == kind).count();
                if count(Kind::Attempt) == count(Kind::Outcome) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Of the segment.
    fn first(&self) -> u64 {
        let mut header = [0; 128];
        File::open(self.path(self.segment)).unwrap().read_exact(&mut header).unwrap();
        assert_eq!(header.len() as u64, HEADER);
        assert_eq!(crc(&[&header[..124]]), u32_at(&header, 124));
        u64_at(&header, 24)
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.ledger.join(format!("ledger-{segment:06}.seg"))
    }

    /// The frames of the next batch, if it is there and whole.
    fn batch(&self, file: &mut File) -> Option<Vec<u8>> {
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        let mut head = [0; BATCH];
        file.read_exact(&mut head).ok()?;
        let crc = |bytes: &[u8]| crc(&[bytes]);
        let good = head.starts_with(&[0xf7, b'T', b'W', 0xff]) && crc(&head[..60]) == u32_at(&head, 60);
        // What a failed write left before the next segment is void.
        if !good || u64_at(&head, 12) != self.all.len() as u64 {
            return None;
        }
        let mut frames = vec![0; u32_at(&head, 24) as usize];
        file.read_exact(&mut frames).ok()?;
        let mut rest = &frames[..];
        while let Some((frame, after)) = rest.split_first_chunk::<FRAME>() {
            let (record, after) = after.split_at_checked(u32_at(frame, 0) as usize)?;
            if self::crc(&[&frame[..4], record]) != u32_at(frame, 4) {
                return None;
            }
            rest = after;
        }
        Some(frames)
    }

    /// Bytes of the newest segment that are used.
    pub(crate) fn used(&self) -> u64 {
        self.offset
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// CRC-32 (IEEE 802.3).
fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = flate2::Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum()
}

/// What became of the changes that a ledger announces.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Changes {
    pub(crate) committed: usize,
    pub(crate) rolled_back: usize,
}

/// Checks that each change in the ledger has one outcome, that the clinics' files agree with it, and that they hold no
/// change that the ledger does not announce. `records` are all that there are.
pub(crate) async fn check_changes(data: &Path, records: &[Record]) -> Changes {
    let mut outcomes: HashMap<_, Outcome> = HashMap::new();
    for record in records.iter().filter(|record| record.kind() == Kind::Outcome) {
        let outcome = record.outcome().unwrap();
        let attempt = record.attempt().unwrap();
        if outcome != Outcome::Unknown {
            assert_eq!(outcomes.insert(attempt, outcome), None, "a second outcome: {record:?}");
        }
    }
    let mut files: HashMap<&str, Rows> = HashMap::new();
    let mut changes = Changes::default();
    for record in records.iter().filter(|record| record.kind() == Kind::Attempt) {
        let attempt = record.attempt().unwrap();
        let outcome = outcomes.remove(&attempt).unwrap_or_else(|| panic!("no outcome: {record:?}"));
        let tenant = record.tenant().unwrap().as_str();
        if !files.contains_key(tenant) {
            files.insert(tenant, Rows::read(data, tenant).await);
        }
        let rows = files.get_mut(tenant).unwrap();
        let committed = outcome == Outcome::Committed;
        assert_eq!(rows.attempts.remove(attempt.as_bytes()), committed, "{outcome:?} says {record:?}");
        if record.action().unwrap().as_str() == "create"
            && let Some(row) = record.row()
        {
            let there = rows.rows[record.entity().unwrap()].contains(row.as_bytes());
            assert_eq!(there, committed, "{outcome:?} says {record:?}");
        }
        *(if committed { &mut changes.committed } else { &mut changes.rolled_back }) += 1;
    }
    assert!(outcomes.is_empty(), "outcomes of nothing: {outcomes:?}");
    for (tenant, rows) in files {
        assert!(rows.attempts.is_empty(), "changes of {tenant} that no record announces: {:?}", rows.attempts);
    }
    changes
}

/// Every table whose rows have an id.
const TABLES: [(&str, &str); 8] = [
    ("patients", "select id from patients"),
    ("encounters", "select id from encounters"),
    ("notes", "select id from notes"),
    ("prescriptions", "select id from prescriptions"),
    ("results", "select id from results"),
    ("appointments", "select id from appointments"),
    ("staff", "select id from staff"),
    ("employees", "select id from employees"),
];

/// The ids in one clinic's file.
#[derive(Debug, PartialEq)]
pub(crate) struct Rows {
    attempts: HashSet<[u8; 16]>,
    pub(crate) rows: HashMap<&'static str, HashSet<[u8; 16]>>,
}

impl Rows {
    pub(crate) async fn read(data: &Path, tenant: &str) -> Self {
        let file = data.join("clinics").join(format!("{tenant}.sqlite"));
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let sound: String = sqlx::query_scalar("pragma quick_check").fetch_one(&pool).await.unwrap();
        assert_eq!(sound, "ok");
        let ids = async |sql: &'static str| -> HashSet<[u8; 16]> {
            let ids: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap();
            ids.into_iter().map(|id| id.try_into().unwrap()).collect()
        };
        let attempts = ids("select id from ward_attempts").await;
        let mut rows = HashMap::new();
        for (table, sql) in TABLES {
            rows.insert(table, ids(sql).await);
        }
        pool.close().await;
        Self { attempts, rows }
    }

    pub(crate) fn holds(&self, table: &str, id: &str) -> bool {
        self.rows[table].contains(id.parse::<Uuid>().unwrap().as_bytes())
    }
}
