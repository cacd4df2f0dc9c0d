//! Changes, and what the ledger says of them.

use super::*;

#[tokio::test]
async fn a_change_is_announced_first_and_writes_its_id_in_the_same_transaction() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let before = count(&bench, "select count(*) from ward_attempts").await;
    let row = RowId::generate(&bench.clock);
    let ((), records) = bench
        .records_of(async {
            let (trail, mut closer) = bench.trail();
            let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
            let mut tx = bench.db.change(&chart, Change::update("notes", row)).await.expect("begun");
            let here: i64 =
                sqlx::query_scalar("select count(*) from ward_attempts").fetch_one(tx.conn()).await.expect("a count");
            assert_eq!(here, before + 1);
            assert_eq!(count(&bench, "select count(*) from ward_attempts").await, before, "nobody else sees it yet");
            tx.commit().await.expect("committed");
            closer.finish(End::Completed);
        })
        .await;
    let attempts = of_kind(&records, Kind::Attempt);
    assert_eq!((attempts.len(), attempts[0].row(), attempts[0].subjects()), (1, Some(row), &[patient][..]));
    assert_eq!((attempts[0].permission(), attempts[0].entity()), (Some("notes.write"), Some("notes")));
    let id = attempts[0].attempt().expect("an id");
    let stored = raw(&bench.clinic_file(&bench.harbour), "select id from ward_attempts").await;
    assert!(stored.iter().any(|row| row.get::<Vec<u8>, _>(0) == id.as_bytes()));
    let outcome = of_kind(&records, Kind::Outcome);
    assert_eq!((outcome[0].attempt(), outcome[0].outcome()), (Some(id), Some(Outcome::Committed)));
}

#[tokio::test]
async fn a_change_that_is_not_committed_is_recorded_as_rolled_back() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let db = bench.db.clone();
    let service = bench.serve(|router| {
        router.post(
            "/forget/{id}/{how}",
            move |grant: Grant<WriteNotes>, Path((id, how)): Path<(SubjectId, String)>| {
                let db = db.clone();
                async move {
                    let chart = grant.subject(id).await?;
                    let mut tx = db.change(&chart, Change::delete("notes", row_of(id))).await?;
                    sqlx::query("delete from notes").execute(tx.conn()).await.map_err(|_| Problem::internal())?;
                    match how.as_str() {
                        "panic" => panic!("half way"),
                        "refuse" => Err(Problem::conflict()),
                        _ => Ok(StatusCode::OK),
                    }
                }
            },
        )
    });
    for (how, status) in [("return", 200), ("refuse", 409), ("panic", 500)] {
        let (reply, records) = bench.records_of(post(&service, &owner, &format!("/forget/{patient}/{how}"), "")).await;
        assert_eq!(reply.status, status);
        assert_eq!(outcomes(&records), [Outcome::RolledBack], "{how}");
        assert_eq!(count(&bench, "select count(*) from notes").await, 1, "{how}");
    }
    assert_eq!(post(&service, &owner, &format!("/patients/{patient}/notes"), "\"next\"").await.status, 201);
}

// proves GLM-19 for changes: what is not on record did not happen.
#[tokio::test]
async fn nothing_is_committed_before_its_record_is_durable() {
    let bench = Bench::with(small_segments()).await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/patients/{patient}/notes");
    let blocked = bench.block_ledger().await;
    let mut created = 0;
    loop {
        let reply = post(&service, &owner, &path, "\"another\"").await;
        if reply.status != 201 {
            reply.is_problem(503);
            break;
        }
        created += 1;
        assert!(created < 1_000, "the segment never ran full");
    }
    assert_eq!(count(&bench, "select count(*) from notes").await, 1 + created);
    blocked.unblock(bench.ward.ledger()).await;
    let records = bench.records().await;
    let (attempts, outcomes) = (of_kind(&records, Kind::Attempt), outcomes(&records));
    // The bench's own two changes are among them.
    let committed = outcomes.iter().filter(|o| **o == Outcome::Committed).count();
    assert_eq!(committed as i64, 2 + created);
    assert_eq!(outcomes.len(), attempts.len(), "every attempt has its outcome");
    assert_eq!(count(&bench, "select count(*) from ward_attempts").await, committed as i64);
}

/// A client that hangs up at any moment: the record and the file say the same, and no attempt is left open.
#[tokio::test]
async fn a_client_that_hangs_up_during_a_commit_cannot_part_the_ledger_from_the_file() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/patients/{patient}/notes");
    let mut cut = 0;
    for step in 0..60_u64 {
        let mut request = request(Method::POST, Some(&owner), &path);
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        *request.body_mut() = format!("\"{step}\"").into();
        let running = service.clone().oneshot(request);
        cut += i32::from(tokio::time::timeout(Duration::from_micros(step * 100), running).await.is_err());
    }
    assert!(cut > 0, "no request was cut");
    let mut tries = 0;
    let by_attempt = loop {
        let mut by_attempt = HashMap::new();
        for record in bench.records().await {
            match record.kind() {
                Kind::Attempt => drop(by_attempt.insert(record.attempt().unwrap(), None)),
                Kind::Outcome => drop(by_attempt.insert(record.attempt().unwrap(), record.outcome())),
                _ => {}
            }
        }
        if by_attempt.values().all(Option::is_some) {
            break by_attempt;
        }
        tries += 1;
        assert!(tries < 500, "an attempt was left open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let stored = raw(&bench.clinic_file(&bench.harbour), "select id from ward_attempts").await;
    let stored: Vec<Vec<u8>> = stored.iter().map(|row| row.get(0)).collect();
    for (attempt, outcome) in &by_attempt {
        let committed = stored.iter().any(|id| id == attempt.as_bytes());
        let expected = if committed { Outcome::Committed } else { Outcome::RolledBack };
        assert_eq!(*outcome, Some(expected), "{attempt}");
    }
    assert!(stored.len() <= by_attempt.len());
    // The connection that writes is as good as before.
    assert_eq!(post(&service, &owner, &path, "\"last\"").await.status, 201);
}

#[tokio::test]
async fn a_transaction_smuggled_out_of_its_request_does_not_commit() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    let (result, records) = bench
        .records_of(async {
            let mut tx = bench.db.change(&chart, Change::delete("notes", row_of(patient))).await.expect("begun");
            sqlx::query("delete from notes").execute(tx.conn()).await.expect("deleted");
            closer.finish(End::Completed);
            tx.commit().await
        })
        .await;
    assert!(matches!(result, Err(TxError::Trail(_))), "{result:?}");
    assert_eq!(outcomes(&records), [Outcome::RolledBack]);
    assert_eq!(count(&bench, "select count(*) from notes").await, 1);
    assert!(matches!(bench.db.read(&chart).await, Err(TxError::Trail(_))));
    assert!(matches!(bench.db.change(&chart, Change::import("notes")).await, Err(TxError::Trail(_))));
}

/// `'; commit; --`: a statement that ends the transaction past the ledger.
#[tokio::test]
async fn a_statement_that_commits_by_itself_changes_nothing() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    for (name, sql) in [
        ("commit", "delete from notes; commit"),
        ("end", "delete from notes; end transaction"),
        ("commit and go on", "delete from notes; commit; begin; delete from staff"),
        ("roll back and commit by itself", "rollback; delete from notes"),
        ("roll back, begin anew and commit", "rollback; begin; delete from notes; commit"),
        ("roll back and begin anew", "rollback; begin; delete from notes"),
        ("forget the attempt", "delete from notes; delete from ward_attempts"),
    ] {
        for commit in [false, true] {
            let (trail, mut closer) = bench.trail();
            let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
            let ((), records) = bench
                .records_of(async {
                    let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
                    let _ = sqlx::raw_sql(sql).execute(tx.conn()).await;
                    if commit {
                        assert!(tx.commit().await.is_err(), "{name}");
                    }
                    closer.finish(End::Completed);
                })
                .await;
            assert_eq!(outcomes(&records), [Outcome::RolledBack], "{name}, {commit}");
            assert_eq!(count(&bench, "select count(*) from notes").await, 1, "{name}, {commit}");
        }
    }
    let service = bench.serve(|router| router);
    assert_eq!(post(&service, &owner, &format!("/patients/{patient}/notes"), "\"next\"").await.status, 201);
}

/// An injected statement that reaches for the neighbour's file, or leaves something behind for whoever comes next.
#[tokio::test]
async fn a_change_that_reaches_beyond_its_own_tables_is_rolled_back_and_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let _ = bench.patient(&bench.meadow, "Max", "a cold").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let service = bench.serve(|router| router);
    let meadow = bench.clinic_file(&bench.meadow).display().to_string();
    for (name, sql) in [
        ("another clinic's file", format!("attach '{meadow}' as other; delete from other.notes")),
        (
            "another clinic's file, autocommitted",
            format!("rollback; attach '{meadow}' as other; delete from other.notes"),
        ),
        ("a table before the table", "create temp table notes (id, patient, text)".to_owned()),
        ("a view before the table", "create temp view patients as select 1".to_owned()),
        ("a table before the attempts", "create temp table ward_attempts (id)".to_owned()),
        ("a trigger", "create temp trigger t after insert on notes begin delete from notes; end".to_owned()),
    ] {
        let (trail, mut closer) = bench.trail();
        let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
        let (committed, records) = bench
            .records_of(async {
                let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
                let _ = sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(tx.conn()).await;
                let committed = tx.commit().await;
                closer.finish(End::Completed);
                committed
            })
            .await;
        assert!(matches!(committed, Err(TxError::RolledBack)), "{name}: {committed:?}");
        assert_eq!(outcomes(&records), [Outcome::RolledBack], "{name}");
        assert_eq!(raw(&bench.clinic_file(&bench.meadow), "select id from notes").await.len(), 1, "{name}");
        let before = count(&bench, "select count(*) from notes").await;
        assert_eq!(
            post(&service, &owner, &format!("/patients/{patient}/notes"), "\"next\"").await.status,
            201,
            "{name}"
        );
        assert_eq!(count(&bench, "select count(*) from notes").await, before + 1, "{name}");
    }
    // The same of a connection that reads.
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    for _ in 0..8 {
        let mut tx = bench.db.read(&chart).await.expect("begun");
        let sql = "create temp table notes (id, patient, text); commit; create temp view patients as select 1";
        let _ = sqlx::raw_sql(sql).execute(tx.conn()).await;
    }
    for _ in 0..8 {
        assert!(get(&service, &owner, &format!("/patients/{patient}/notes")).await.body.contains("a cough"));
    }
}

#[tokio::test]
async fn many_changes_at_once_take_their_turns() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let path = format!("/patients/{patient}/notes");
    let mut running = tokio::task::JoinSet::new();
    for n in 0..24 {
        let (service, owner, path) = (service.clone(), owner.clone(), path.clone());
        running.spawn(async move { post(&service, &owner, &path, &format!("\"{n}\"")).await.status });
    }
    assert_eq!(running.join_all().await, vec![201; 24]);
    assert_eq!(count(&bench, "select count(*) from notes").await, 25);
}
