//! Connections.

use super::*;

#[tokio::test]
async fn a_transaction_that_reads_cannot_write_whatever_it_tries() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let meadow = bench.clinic_file(&bench.meadow).display().to_string();
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    for (name, sql) in [
        ("insert", "insert into staff values (x'00', x'00')".to_owned()),
        ("update", "update notes set author = 'eve'".to_owned()),
        ("delete", "delete from notes".to_owned()),
        ("a new table", "create table mine (x)".to_owned()),
        ("drop", "drop table notes".to_owned()),
        ("relations", "delete from ward_relations".to_owned()),
        ("whose file it is", "update ward_tenant set id = 'meadow'".to_owned()),
        ("query_only off first", "pragma query_only = off; delete from notes".to_owned()),
        ("another clinic's file", format!("attach '{meadow}' as other; delete from other.ward_tenant")),
    ] {
        let mut tx = bench.db.read(&chart).await.expect("begun");
        let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(tx.conn()).await;
        assert!(result.is_err_and(|e| e.to_string().contains("readonly")), "{name}");
    }
    assert_eq!(count(&bench, "select count(*) from notes").await, 1);
    assert_eq!(raw(&bench.clinic_file(&bench.meadow), "select id from ward_tenant").await.len(), 1);
}

// proves CLA-11: what an injected statement finds in another clinic's file is sealed under keys that this grant has not.
#[tokio::test]
async fn an_attached_file_of_another_clinic_yields_nothing_that_opens() {
    let bench = Bench::new().await;
    let mine = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let theirs = bench.patient(&bench.meadow, "Max", CANARY).await;
    let meadow = bench.clinic_file(&bench.meadow).display().to_string();
    let (trail, _closer) = bench.trail();
    let grant = bench.danger::<ReadNotes>(&trail, &bench.harbour);
    let chart = grant.subject(mine).await.expect("open");
    let mut tx = bench.db.read(&chart).await.expect("begun");
    sqlx::raw_sql(AssertSqlSafe(format!("attach '{meadow}' as other"))).execute(tx.conn()).await.expect("attached");
    let stolen: Vec<(RowId, SubjectId, Encrypted<NoteText>)> =
        sqlx::query_as("select id, patient, text from other.notes").fetch_all(tx.conn()).await.expect("rows");
    assert_eq!((stolen.len(), stolen[0].1), (1, theirs));
    for (row, _, note) in &stolen {
        assert!(!String::from_utf8_lossy(note.as_bytes()).contains(CANARY));
        assert!(note.open(&chart, *row).is_err());
    }
    assert!(grant.subject(theirs).await.is_err(), "and no door leads there");
}

#[tokio::test]
async fn no_plain_text_stands_in_a_clinics_file() {
    let bench = Bench::new().await;
    let _ = bench.patient(&bench.harbour, CANARY, CANARY).await;
    let folder = bench.clinic_file(&bench.harbour).parent().expect("a folder").to_owned();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        assert!(!bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()), "{}", path.display());
    }
}
