//! What a change made of each row, as SQLite told it and the ledger holds it.

use tower_ward::{
    access::{ClinicGrant, SubjectGrant},
    audit::{Action, Stated, verify},
    db::MAX_CHANGED_ROWS,
    field::{DiffError, RowDiff, Side, Told},
};

use super::*;
use crate::support::model::Salary;

/// What somebody who may read it is told of a text: `-` for none, `?` for what nobody could read.
fn told(told: Told<String>) -> String {
    match told {
        Told::Nothing => "-".to_owned(),
        Told::Value(text) => text.disclose(),
        Told::Illegible => "?".to_owned(),
        other => format!("{other:?}"),
    }
}

fn text(diff: &RowDiff<ReadNotes>) -> (String, String) {
    let edit = diff.get::<NoteText>().expect("a text that changed");
    (told(edit.before), told(edit.after))
}

/// A bench with one patient, and doors to her.
struct Scene {
    bench: Bench,
    ada: SubjectId,
    /// Of her one note.
    note: RowId,
}

impl Scene {
    async fn new() -> Self {
        let bench = Bench::with(small_segments()).await;
        let ada = bench.patient(&bench.harbour, "Ada", "first").await;
        let found = raw(&bench.clinic_file(&bench.harbour), "select id from notes").await;
        let note = RowId::from_bytes(found[0].get::<Vec<u8>, _>(0).try_into().expect("16 bytes"));
        Self { bench, ada, note }
    }

    /// Does something in one transaction of hers; the records that it leaves.
    async fn change(
        &self,
        change: Change,
        work: impl AsyncFnOnce(&mut sqlx::SqliteConnection, &SubjectGrant<WriteNotes>),
    ) -> (Result<(), TxError>, Vec<Record>) {
        self.bench
            .records_of(async {
                let (trail, mut closer) = self.bench.trail();
                let chart =
                    self.bench.danger::<WriteNotes>(&trail, &self.bench.harbour).subject(self.ada).await.unwrap();
                let mut tx = self.bench.db.change(&chart, change).await.unwrap();
                work(tx.conn(), &chart).await;
                let done = tx.commit().await;
                closer.finish(End::Completed);
                done
            })
            .await
    }

    /// Opens records through a door of hers.
    async fn open(&self, records: &[&Record]) -> Vec<RowDiff<ReadNotes>> {
        let (trail, mut closer) = self.bench.trail();
        let chart = self.bench.danger::<ReadNotes>(&trail, &self.bench.harbour).subject(self.ada).await.unwrap();
        let diffs = records.iter().map(|record| chart.open_diff(record).expect("hers")).collect();
        closer.finish(End::Completed);
        diffs
    }
}

fn seal(chart: &SubjectGrant<WriteNotes>, row: RowId, text: &str) -> Encrypted<NoteText> {
    Encrypted::seal(&text.to_owned(), chart, row).unwrap()
}

fn row(n: u8) -> RowId {
    RowId::from_bytes([n; 16])
}

/// One statement: its SQL, where `:note`, `:ada`, `:a` and `:b` stand for a row, a person and two sealed texts.
async fn run(conn: &mut sqlx::SqliteConnection, scene: &Scene, chart: &SubjectGrant<WriteNotes>, sql: &str) -> bool {
    let hex = |bytes: &[u8]| format!("x'{}'", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
    let sql = sql
        .replace(":note", &hex(scene.note.as_bytes()))
        .replace(":ada", &hex(scene.ada.as_bytes()))
        .replace(":one", &hex(row(1).as_bytes()))
        .replace(":two", &hex(row(2).as_bytes()))
        .replace(":a", &hex(seal(chart, scene.note, "a").as_bytes()))
        .replace(":b", &hex(seal(chart, scene.note, "b").as_bytes()))
        .replace(":same", &hex(seal(chart, scene.note, "first").as_bytes()))
        .replace(":1", &hex(seal(chart, row(1), "one").as_bytes()))
        .replace(":2", &hex(seal(chart, row(2), "two").as_bytes()));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.is_ok()
}

/// Its name, its statements, and what the ledger then says: the action, before, and after.
type Case = (&'static str, Vec<String>, &'static [(Action, &'static str, &'static str)]);

// proves CCA-24, CLM-06
#[tokio::test]
async fn each_statement_is_told_as_what_it_did() {
    const INSERT: &str = "insert into notes (id, patient, text) values";
    let rows: Vec<Case> = vec![
        ("an update", vec!["update notes set text = :a".into()], &[(Action::Update, "first", "a")]),
        (
            "two updates of one cell",
            vec!["update notes set text = :a".into(), "update notes set text = :b".into()],
            &[(Action::Update, "first", "b")],
        ),
        ("there and back", vec!["update notes set text = :a".into(), "update notes set text = :same".into()], &[]),
        ("the same value sealed anew", vec!["update notes set text = :same".into()], &[]),
        ("the very same bytes", vec!["update notes set text = text".into()], &[]),
        ("a column that is not sealed", vec!["update notes set author = 'x'".into()], &[]),
        ("nothing at all", vec!["update notes set text = :a where id = :one".into()], &[]),
        ("an insert", vec![format!("{INSERT} (:one, :ada, :1)")], &[(Action::Create, "-", "one")]),
        (
            "two rows at once",
            vec![format!("{INSERT} (:one, :ada, :1), (:two, :ada, :2)")],
            &[(Action::Create, "-", "one"), (Action::Create, "-", "two")],
        ),
        ("a deletion", vec!["delete from notes".into()], &[(Action::Delete, "first", "-")]),
        (
            "in and out again",
            vec![format!("{INSERT} (:one, :ada, :1)"), "delete from notes where id = :one".into()],
            &[],
        ),
        (
            "out and in again",
            vec!["delete from notes".into(), format!("{INSERT} (:note, :ada, :a)")],
            &[(Action::Update, "first", "a")],
        ),
        (
            "insert or replace",
            vec![format!("insert or replace into notes (id, patient, text) values (:note, :ada, :a)")],
            &[(Action::Update, "first", "a")],
        ),
        (
            "insert or ignore",
            vec![format!("insert or ignore into notes (id, patient, text) values (:note, :ada, :a)")],
            &[],
        ),
        (
            "an upsert",
            vec![format!("{INSERT} (:note, :ada, :a) on conflict (id) do update set text = excluded.text")],
            &[(Action::Update, "first", "a")],
        ),
        (
            "a row that is named anew",
            vec!["update notes set id = :one, text = :1".into()],
            &[(Action::Create, "-", "one"), (Action::Delete, "first", "-")],
        ),
        (
            "a statement that failed half way, and one that did not",
            vec![format!("{INSERT} (:one, :ada, :1), (:note, :ada, :a)"), format!("{INSERT} (:two, :ada, :2)")],
            &[(Action::Create, "-", "two")],
        ),
        (
            "a savepoint that was rolled back",
            vec!["savepoint s; update notes set text = :a; rollback to s".into(), "update notes set text = :b".into()],
            &[(Action::Update, "first", "b")],
        ),
        (
            "a savepoint that was rolled back, and nothing else",
            vec!["savepoint s; delete from notes; rollback to s; release s".into()],
            &[],
        ),
        (
            "plain text in a sealed column",
            vec!["update notes set text = x'68656c6c6f'".into()],
            &[(Action::Update, "first", "?")],
        ),
        ("a value of another row", vec!["update notes set text = :1".into()], &[(Action::Update, "first", "?")]),
    ];
    for (name, statements, expected) in rows {
        let scene = Scene::new().await;
        // In what there is of it, never under the name of an import or a deletion.
        let (done, records) = scene
            .change(Change::update("notes", scene.note), async |conn, chart| {
                for sql in &statements {
                    run(conn, &scene, chart, sql).await;
                }
            })
            .await;
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
        let changed = of_kind(&records, Kind::Changed);
        let diffs = scene.open(&changed).await;
        let found: Vec<_> = changed
            .iter()
            .zip(&diffs)
            .map(|(record, diff)| {
                let (before, after) = text(diff);
                (record.action().expect("an action"), before, after)
            })
            .collect();
        let found: Vec<_> = found.iter().map(|(action, a, b)| (*action, a.as_str(), b.as_str())).collect();
        let mut sorted = found.clone();
        sorted.sort_by_key(|(action, ..)| action.as_str());
        assert_eq!(sorted, expected, "{name}");
        // In the order of evidence: announced, said, done.
        let attempt = of_kind(&records, Kind::Attempt)[0];
        let outcome = of_kind(&records, Kind::Outcome)[0];
        for record in changed {
            assert_eq!((record.attempt(), record.entity()), (attempt.attempt(), Some("notes")), "{name}");
            assert_eq!((record.user(), record.subjects()), (attempt.user(), attempt.subjects()), "{name}");
            assert!(attempt.index() < record.index() && record.index() < outcome.index(), "{name}");
        }
        verify(&scene.bench.ledger_dir()).expect("it verifies");
    }
}

/// attack: any statement can tell of a row, in the very words of the triggers. What is said of a row is never what it told.
// proves CCA-24, CLM-06
#[tokio::test]
async fn a_statement_that_speaks_like_a_trigger_forges_nothing() {
    // `:note` would be replaced in the table's name.
    let told = |message: &str| format!("({message}) collate ward_row = ('d' || char(58) || 'notes')");
    let update = |message: &str| {
        format!("update notes set text = :a where id = :note and ({} or length(id) = 16)", told(message))
    };
    let import = || Change::import("notes");
    let changed: &[(&str, &str)] = &[("first", "a")];
    for (name, import_it, sql, expected) in [
        ("hidden: it was so already", false, update("'o/' || hex(id) || '/' || hex(:a)"), changed),
        ("falsified: there was nothing", false, update("'o/' || hex(id) || '/-'"), changed),
        ("falsified: the row is new", false, update("'n/' || hex(id)"), changed),
        ("hidden in an import: the row is new", true, update("'n/' || hex(id)"), changed),
        ("hidden in an import: the key alone", true, update("hex(id)"), changed),
        (
            "hidden in an import: out and in again",
            true,
            "delete from notes; insert into notes (id, patient, text) values (:note, :ada, :a)".to_owned(),
            changed,
        ),
        ("a row that did not change", false, format!("select {} from notes", told("hex(id)")), &[]),
        ("a row that there is not", false, format!("select {} from notes", told("hex(:one)")), &[]),
        ("no row at all", false, format!("select {} from notes", told("'o/zz/'")), &[]),
    ] {
        let scene = Scene::new().await;
        let change = if import_it { import() } else { Change::update("notes", scene.note) };
        let (done, records) =
            scene.change(change, async |conn, chart| assert!(run(conn, &scene, chart, &sql).await, "{name}")).await;
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
        let found: Vec<_> = scene.open(&of_kind(&records, Kind::Changed)).await.iter().map(text).collect();
        let found: Vec<_> = found.iter().map(|(before, after)| (before.as_str(), after.as_str())).collect();
        assert_eq!(found, expected, "{name}");
    }
}

/// attack: a row under a key that no value can be sealed for would change unsaid.
#[tokio::test]
async fn a_row_whose_key_is_not_sixteen_bytes_is_not_written() {
    let scene = Scene::new().await;
    let text =
        async || raw(&scene.bench.clinic_file(&scene.bench.harbour), "select hex(id) || hex(text) from notes").await;
    let before: Vec<String> = text().await.iter().map(|row| row.get(0)).collect();
    for (name, sql) in [
        ("too short", "insert into notes (id, patient, text) values (x'01', :ada, :1)"),
        ("too long", "insert into notes (id, patient, text) values (zeroblob(17), :ada, :1)"),
        ("empty", "insert or ignore into notes (id, patient, text) values (x'', :ada, :1)"),
        ("renamed", "update notes set id = x'02'"),
    ] {
        let (_, records) = scene
            .change(Change::import("notes"), async |conn, chart| {
                assert!(!run(conn, &scene, chart, sql).await, "{name}");
            })
            .await;
        assert!(of_kind(&records, Kind::Changed).is_empty(), "{name}");
        let after: Vec<String> = text().await.iter().map(|row| row.get(0)).collect();
        assert_eq!(after, before, "{name}");
    }
}

#[tokio::test]
async fn of_a_change_that_is_not_committed_nothing_is_said() {
    let scene = Scene::new().await;
    let ((), records) = scene
        .bench
        .records_of(async {
            let (trail, mut closer) = scene.bench.trail();
            let chart =
                scene.bench.danger::<WriteNotes>(&trail, &scene.bench.harbour).subject(scene.ada).await.unwrap();
            let mut tx = scene.bench.db.change(&chart, Change::delete("notes", scene.note)).await.unwrap();
            assert!(run(tx.conn(), &scene, &chart, "delete from notes").await);
            drop(tx);
            closer.finish(End::Completed);
        })
        .await;
    assert!(of_kind(&records, Kind::Changed).is_empty());
    // Nor does the next transaction tell it.
    let (done, records) = scene.change(Change::update("notes", scene.note), async |_, _| {}).await;
    assert!(done.is_ok() && of_kind(&records, Kind::Changed).is_empty());
}

/// A change is committed once what it made of its rows is durable, and not before.
#[tokio::test]
async fn no_change_is_committed_before_what_it_made_is_durable() {
    let scene = Scene::new().await;
    let bench = &scene.bench;
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(scene.ada).await.unwrap();
    let mut tx = bench.db.change(&chart, Change::update("notes", scene.note)).await.unwrap();
    let long = seal(&chart, scene.note, &"x".repeat(15_000));
    sqlx::query("update notes set text = ?").bind(long).execute(tx.conn()).await.unwrap();
    let blocked = bench.block_ledger().await;
    // All that was recorded until now is durable: what the commit waits for is what it says itself, which finds no room.
    trail.settled().await.unwrap();
    assert!(matches!(tx.commit().await, Err(TxError::Trail(_))));
    let stored = raw(&bench.clinic_file(&bench.harbour), "select text from notes").await;
    blocked.unblock(bench.ward.ledger()).await;
    let stored = Encrypted::<NoteText>::from_bytes(stored[0].get::<Vec<u8>, _>(0));
    assert_eq!(stored.open(&chart, scene.note).unwrap().disclose(), "first");
    closer.finish(End::Completed);
}

/// Rows of no person are sealed under the clinic's key, and an import says nothing of what is new.
#[tokio::test]
async fn an_import_says_nothing_of_new_rows_and_everything_of_others() {
    let bench = Bench::with(small_segments()).await;
    let insert = async |conn: &mut sqlx::SqliteConnection, door: &ClinicGrant<KeepStaff>, n: u8, salary: &str| {
        sqlx::query(
            "insert into staff (id, salary) values (?, ?) on conflict (id) do update set salary = excluded.salary",
        )
        .bind(row(n))
        .bind(Encrypted::<Salary>::seal(&salary.to_owned(), door, row(n)).unwrap())
        .execute(conn)
        .await
        .unwrap();
    };
    let change = async |change: Change, rows: &[(u8, &str)]| {
        let ((), records) = bench
            .records_of(async {
                let (trail, mut closer) = bench.trail();
                let door = bench.danger::<KeepStaff>(&trail, &bench.harbour).clinic().await.unwrap();
                let mut tx = bench.db.change(&door, change).await.unwrap();
                for (n, salary) in rows {
                    insert(tx.conn(), &door, *n, salary).await;
                }
                tx.commit().await.unwrap();
                closer.finish(End::Completed);
            })
            .await;
        records.into_iter().filter(|record| record.kind() == Kind::Changed).collect::<Vec<_>>()
    };
    // The second statement changes what the first one imported.
    assert!(change(Change::import("staff"), &[(1, "100"), (2, "200"), (2, "201")]).await.is_empty());
    let said = change(Change::import("staff"), &[(1, "101"), (3, "300")]).await;
    assert_eq!((said.len(), said[0].action(), said[0].row()), (1, Some(Action::Update), Some(row(1))));
    let said = [said, change(Change::create("staff", row(4)), &[(4, "400")]).await].concat();

    let (trail, mut closer) = bench.trail();
    let door = bench.danger::<KeepStaff>(&trail, &bench.harbour).clinic().await.unwrap();
    let diffs: Vec<_> = said.iter().map(|record| door.open_diff(record).unwrap().get::<Salary>().unwrap()).collect();
    let diffs: Vec<_> = diffs.into_iter().map(|edit| (told(edit.before), told(edit.after))).collect();
    let texts = [("100", "101"), ("-", "400")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(diffs, texts);
    closer.finish(End::Completed);
    // Another clinic's door.
    let (trail, mut closer) = bench.trail();
    let away = bench.danger::<KeepStaff>(&trail, &bench.meadow).clinic().await.unwrap();
    assert!(matches!(away.open_diff(&said[0]), Err(DiffError::Elsewhere)));
    closer.finish(End::Completed);
}

#[tokio::test]
async fn more_rows_than_can_be_said_are_not_changed() {
    let scene = Scene::new().await;
    let fill = async |conn: &mut sqlx::SqliteConnection, chart: &SubjectGrant<WriteNotes>, rows: usize| {
        for n in 0..rows {
            let id = RowId::from_bytes((1 + n as u128).to_be_bytes());
            sqlx::query("insert into notes (id, patient, text) values (?, ?, ?)")
                .bind(id)
                .bind(scene.ada)
                .bind(seal(chart, id, "x"))
                .execute(&mut *conn)
                .await
                .unwrap();
        }
    };
    let (done, records) = scene
        .change(Change::update("notes", scene.note), async |conn, chart| fill(conn, chart, MAX_CHANGED_ROWS + 1).await)
        .await;
    assert!(matches!(done, Err(TxError::TooManyRows)), "{done:?}");
    assert_eq!(of_kind(&records, Kind::Outcome)[0].outcome(), Some(Outcome::RolledBack));
    assert_eq!(count(&scene.bench, "select count(*) from notes").await, 1);
    let (done, records) = scene
        .change(Change::update("notes", scene.note), async |conn, chart| fill(conn, chart, MAX_CHANGED_ROWS).await)
        .await;
    assert!(done.is_ok(), "{done:?}");
    assert_eq!(of_kind(&records, Kind::Changed).len(), MAX_CHANGED_ROWS);
}

/// What opens through one person's door does not open through another's, another clinic's, or after its request; and what
/// was said can be proved to somebody who has neither.
#[tokio::test]
async fn a_record_opens_through_the_door_of_its_person_alone() {
    let scene = Scene::new().await;
    let bench = &scene.bench;
    let (done, records) = scene
        .change(Change::update("notes", scene.note), async |conn, chart| {
            assert!(run(conn, &scene, chart, "update notes set text = :a").await);
        })
        .await;
    done.unwrap();
    let record = of_kind(&records, Kind::Changed)[0];
    let eve = bench.patient(&bench.harbour, "Eve", "a cold").await;
    let mary = bench.patient(&bench.meadow, "Mary", "a cold").await;

    let (trail, mut closer) = bench.trail();
    let hers = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(scene.ada).await.unwrap();
    let other = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(eve).await.unwrap();
    assert!(matches!(other.open_diff(record), Err(DiffError::Elsewhere)));
    // A record of hers that is none of a change.
    let attempt = of_kind(&records, Kind::Attempt)[0];
    assert!(matches!(hers.open_diff(attempt), Err(DiffError::NoValues)));
    // One that was made to look like the other's.
    let text = String::from_utf8(record.to_bytes()).unwrap().replace(&scene.ada.to_string(), &eve.to_string());
    let forged = Record::from_bytes(text.as_bytes()).unwrap();
    assert!(matches!(other.open_diff(&forged), Err(DiffError::NotOpened)));

    let diff = hers.open_diff(record).unwrap();
    let key = diff.commitment_key::<NoteText>(Side::Before).unwrap();
    let Stated::Commitment(_) = record.changes()[0].fields()[0].before() else { panic!("there was a text") };
    assert!(key.proves(record.changes()[0].fields()[0].before(), &"first".to_owned()));
    assert!(!key.proves(record.changes()[0].fields()[0].before(), &"second".to_owned()));
    closer.finish(End::Completed);
    assert!(matches!(hers.open_diff(record), Err(DiffError::Closed(_))));

    let (trail, mut closer) = bench.trail();
    let away = bench.danger::<ReadNotes>(&trail, &bench.meadow).subject(mary).await.unwrap();
    assert!(matches!(away.open_diff(record), Err(DiffError::Elsewhere)));
    closer.finish(End::Completed);
}

/// Erased: the door that was open is shut, a new one does not open, and the ledger verifies.
#[tokio::test]
async fn what_the_ledger_says_of_an_erased_person_opens_for_nobody() {
    let scene = Scene::new().await;
    let bench = &scene.bench;
    let (done, records) = scene
        .change(Change::update("notes", scene.note), async |conn, chart| {
            assert!(run(conn, &scene, chart, "update notes set text = :a").await);
        })
        .await;
    done.unwrap();
    let record = of_kind(&records, Kind::Changed)[0];
    let (trail, mut closer) = bench.trail();
    let open = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(scene.ada).await.unwrap();
    assert!(open.open_diff(record).is_ok());
    assert!(bench.keyring.erase_subject(&bench.harbour, scene.ada).await.unwrap().is_complete());
    assert!(matches!(open.open_diff(record), Err(DiffError::Closed(_))));
    let again = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(scene.ada).await;
    assert!(again.is_err());
    assert!(matches!(bench.keyring.subject(&bench.harbour, scene.ada).await, Err(tower_ward::keys::KeyError::Erased)));
    closer.finish(End::Completed);
    let report = verify(&bench.ledger_dir()).expect("it verifies");
    assert!(report.head().size() > record.index(), "and the record is still there");
}

/// A door that was open when the key went states nothing, and so changes nothing.
#[tokio::test]
async fn nothing_is_changed_under_a_key_that_was_withdrawn() {
    let scene = Scene::new().await;
    let bench = &scene.bench;
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(scene.ada).await.unwrap();
    let mut tx = bench.db.change(&chart, Change::delete("notes", scene.note)).await.unwrap();
    assert!(run(tx.conn(), &scene, &chart, "delete from notes").await);
    assert!(bench.keyring.erase_subject(&bench.harbour, scene.ada).await.unwrap().is_complete());
    assert!(matches!(tx.commit().await, Err(TxError::Withdrawn)));
    closer.finish(End::Completed);
    assert_eq!(count(bench, "select count(*) from notes").await, 1);
}
