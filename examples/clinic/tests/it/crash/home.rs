//! Where the ledger of a clinic is that is killed, and what is found there: read from outside, by other code than wrote it.

use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use sqlx::Row as _;
use tempfile::TempDir;
use tower_ward::audit::{Known, Record, verify, verify_postgres};

use crate::{
    postgres::Postgres,
    process::{Clinic, Records, command, data_folder, within},
};

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the data folder.
    Folder,
    /// There, and in a second folder, for whose records each answer waits.
    FolderAndCopy,
    /// In a PostgreSQL database.
    Database,
}

/// A data folder and its ledger.
pub(super) struct Home {
    data: TempDir,
    /// What is outside of the data folder.
    elsewhere: TempDir,
    files: Records,
    copy: Option<Records>,
    database: Option<Postgres>,
    /// Every record, in order.
    pub(super) all: Vec<Record>,
    /// Each of them without its place in the ledger.
    contents: HashSet<String>,
}

impl Home {
    pub(super) fn new(place: Place) -> Self {
        let elsewhere = TempDir::new().unwrap();
        let database = (place == Place::Database).then(Postgres::start);
        let data = if let Some(server) = &database {
            let url = elsewhere.path().join("url");
            fs::write(&url, server.url("writer")).unwrap();
            fs::set_permissions(&url, fs::Permissions::from_mode(0o600)).unwrap();
            TempDir::new().unwrap()
        } else {
            data_folder()
        };
        let files = Records::of(&data.path().join("ledger"));
        let copy = (place == Place::FolderAndCopy).then(|| Records::of(&elsewhere.path().join("copy")));
        Self { data, elsewhere, files, copy, database, all: Vec::new(), contents: HashSet::new() }
    }

    pub(super) fn path(&self) -> &Path {
        self.data.path()
    }

    fn ledger(&self) -> std::path::PathBuf {
        self.path().join("ledger")
    }

    fn copied(&self) -> std::path::PathBuf {
        self.elsewhere.path().join("copy")
    }

    /// What starts the server.
    pub(super) fn command(&self) -> Command {
        let mut command = command(self.path());
        if self.copy.is_some() {
            command.arg("--ledger-copy").arg(self.copied());
        }
        if self.database.is_some() {
            command.arg("--ledger-database").arg(format!("file:{}", self.elsewhere.path().join("url").display()));
        }
        command
    }

    pub(super) fn start(&self) -> Clinic {
        Clinic::start_by(self.command(), self.path())
    }

    /// Reads on, and gives what is new. No record stands twice, under whatever number.
    pub(super) fn read_on(&mut self) -> &[Record] {
        let before = self.all.len();
        let new = match &self.database {
            Some(server) => rows(server, before),
            None => self.files.read_on().to_vec(),
        };
        for record in &new {
            let text = String::from_utf8(record.to_bytes()).unwrap();
            let (_, content) = text.split_once(r#","at":"#).unwrap();
            let stands_twice = !self.contents.insert(format!("{} {content}", record.stream().as_str()));
            assert!(!stands_twice, "{record:?} stands twice");
        }
        self.all.extend(new);
        &self.all[before..]
    }

    /// After a kill: the ledger is good, and two readers of it agree. So is the copy, which holds a beginning of it. Gives
    /// whether an end was torn, and how many records are there, in the copy too.
    pub(super) async fn verify(&mut self) -> (bool, u64) {
        let report = match &self.database {
            Some(server) => {
                gone(server).await;
                let place = server.place();
                tokio::task::spawn_blocking(move || verify_postgres(&place, &Known::new())).await.unwrap()
            }
            None => verify(&self.ledger()),
        };
        let report = report.unwrap();
        self.read_on();
        assert_eq!(report.records(), self.all.len() as u64);
        let there = self.copied().exists().then(|| verify(&self.copied()).unwrap());
        let (Some(copy), Some(there)) = (&mut self.copy, there) else {
            return (report.torn().is_some(), report.records());
        };
        let before = copy.all.len();
        copy.read_on();
        assert_eq!(there.records(), copy.all.len() as u64);
        assert!(there.records() <= report.records(), "the copy holds what the ledger does not");
        assert_eq!(copy.all[before..], self.all[before..copy.all.len()]);
        (report.torn().is_some() || there.torn().is_some(), there.records())
    }

    /// After a restart: the copy has caught up.
    pub(super) async fn check_copy(&mut self) {
        self.read_on();
        within(async {
            while self.copy.as_ref().is_some_and(|copy| copy.all.len() != self.all.len()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                // A gap that this start found is a record too.
                self.read_on();
                self.copy.as_mut().unwrap().read_on();
            }
        })
        .await;
        if let Some(copy) = &self.copy {
            assert_eq!(copy.all, self.all);
            assert_eq!(verify(&self.copied()).unwrap().head(), verify(&self.ledger()).unwrap().head());
        }
    }
}

fn rows(server: &Postgres, from: usize) -> Vec<Record> {
    let from = i64::try_from(from).unwrap();
    let rows = server.owner(|mut conn| async move {
        let all = "select idx, record from ward_ledger.records where idx >= $1 order by idx";
        sqlx::query(all).bind(from).fetch_all(&mut conn).await.unwrap()
    });
    let record = |(row, index): (sqlx::postgres::PgRow, i64)| {
        assert_eq!(row.get::<i64, _>(0), index);
        Record::from_bytes(&row.get::<Vec<u8>, _>(1)).unwrap()
    };
    rows.into_iter().zip(from..).map(record).collect()
}

/// Waits until the database has noticed that its client is dead: until then it may still commit the last batch.
async fn gone(server: &Postgres) {
    within(async {
        let sessions = "select count(*) from pg_stat_activity where usename = 'writer'";
        while server
            .owner(|mut conn| async move { sqlx::query_scalar::<_, i64>(sessions).fetch_one(&mut conn).await.unwrap() })
            > 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
