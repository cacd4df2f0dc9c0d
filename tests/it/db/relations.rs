//! Relations, and what else a handler can do wrong.

use super::*;

#[tokio::test]
async fn only_relations_that_are_kept_can_be_changed_and_only_through_their_persons_door() {
    let bench = Bench::new().await;
    let subject = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let user = bench.user(&bench.harbour, "doctor").await.id;
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(subject).await.expect("open");
    let clinic = bench.danger::<KeepStaff>(&trail, &bench.harbour).clinic().await.expect("open");
    for relation in [Relations::OWN, Relations::CLINIC, Relations::NONE, Relations::ASSIGNED.union(Relations::CIRCLE)] {
        let mut tx = bench.db.change(&chart, Change::assign(user, relation)).await.expect("begun");
        assert!(matches!(tx.relate(None).await, Err(TxError::NoRelation)), "{relation:?}");
        assert!(matches!(tx.unrelate().await, Err(TxError::NoRelation)), "{relation:?}");
    }
    let mut tx = bench.db.change(&chart, Change::import("notes")).await.expect("begun");
    assert!(matches!(tx.relate(None).await, Err(TxError::NoRelation)), "it was begun for something else");
    drop(tx);
    let assign = Change::assign(user, Relations::ASSIGNED);
    assert!(matches!(bench.db.change(&clinic, assign).await, Err(TxError::NoSubject)));
    let mut tx = bench.db.change(&chart, assign).await.expect("begun");
    tx.relate(None).await.expect("assigned");
    assert!(tx.unrelate().await.expect("ended"));
    assert!(!tx.unrelate().await.expect("already"));
}

/// One assignment of a generated clinic: of which user, to which person, of which kind, ending how many seconds from now.
type Drawn = (usize, usize, bool, Option<i64>);

/// The filter in SQL and the source of relations are two ways to ask one question: lists and doors agree, or somebody is
/// shown who could not be opened, or the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn the_filter_of_a_list_and_the_doors_of_its_people_agree() {
    const PEOPLE: usize = 5;
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        people.push(bench.patient(&bench.harbour, &format!("p{n}"), "a note").await);
    }
    let mut users: Vec<(User, Option<usize>)> = Vec::new();
    for (role, own) in [
        ("every_relation", Some(0)),
        ("every_relation", None),
        ("doctor", Some(1)),
        ("patient", Some(2)),
        ("owner", None),
    ] {
        users.push((bench.user_who_is(&bench.harbour, role, own.map(|n| people[n])).await, own));
    }
    let strategy = vec((0..users.len(), 0..PEOPLE, any::<bool>(), prop::option::of(-2..=2_i64)), 0..12);
    let now = bench.now();
    let check = async |drawn: Vec<Drawn>| {
        lay_out(&bench, &people, &users, &drawn, now).await;
        for (user, own) in &users {
            let listed = get(&service, user, "/patients").await.body;
            let listed: Vec<String> = serde_json::from_str(&listed).expect("names");
            let role = bench.ward.identity().verify(&user.token).expect("a token").role().to_owned();
            for (n, patient) in people.iter().enumerate() {
                let is_own = *own == Some(n);
                let expected = match role.as_str() {
                    "owner" => true,
                    "patient" => is_own,
                    "doctor" => holds(&drawn, &users, user, n, &[true]),
                    _ => is_own || holds(&drawn, &users, user, n, &[true, false]),
                };
                let status = get(&service, user, &format!("/patients/{patient}/notes")).await.status;
                let found = (listed.contains(&format!("p{n}")), status == 200);
                prop_assert_eq!(found, (expected, expected), "{}, person {}", role, n);
            }
        }
        Ok(())
    };
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let run = |drawn| tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(check(drawn)));
    TestRunner::new(config).run(&strategy, run).unwrap_or_else(|error| panic!("{error}"));
}

/// Whether the last assignment of one of these kinds still holds: the model of the table.
fn holds(drawn: &[Drawn], users: &[(User, Option<usize>)], user: &User, person: usize, kinds: &[bool]) -> bool {
    kinds.iter().any(|kind| {
        let last = drawn.iter().rfind(|(u, p, k, _)| users[*u].0.id == user.id && *p == person && k == kind);
        last.is_some_and(|(.., ends)| ends.is_none_or(|seconds| seconds > 0))
    })
}

async fn lay_out(
    bench: &Bench,
    people: &[SubjectId],
    users: &[(User, Option<usize>)],
    drawn: &[Drawn],
    now: Timestamp,
) {
    tamper(&bench.clinic_file(&bench.harbour), "delete from ward_relations").await;
    for (user, person, assigned, ends) in drawn {
        let relation = if *assigned { Relations::ASSIGNED } else { Relations::CIRCLE };
        let until = ends.map(|s| Timestamp::from_second(now.as_second() + s).expect("in range"));
        bench.relate(&bench.harbour, &users[*user].0, people[*person], relation, until).await;
    }
}

#[tokio::test]
async fn an_assignment_that_ended_is_effective_on_the_next_request() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    bench.relate(&bench.harbour, &doctor, patient, Relations::ASSIGNED, None).await;
    let path = format!("/patients/{patient}/notes");
    assert_eq!(get(&service, &doctor, &path).await.status, 200);
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    let mut tx = bench.db.change(&chart, Change::unassign(doctor.id, Relations::ASSIGNED)).await.expect("begun");
    assert!(tx.unrelate().await.expect("ended"));
    assert_eq!(get(&service, &doctor, &path).await.status, 200, "not before it is committed");
    tx.commit().await.expect("committed");
    assert_eq!(get(&service, &doctor, &path).await.status, 404);
}

#[tokio::test]
async fn a_handler_that_asks_for_a_reading_transaction_and_writes_fails_and_says_so_to_nobody() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (db, stash) = (bench.db.clone(), Arc::new(Mutex::new(None)));
    let kept = Arc::clone(&stash);
    let service = bench.serve(|router| {
        router.get("/oops/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let (db, kept) = (db.clone(), Arc::clone(&kept));
            async move {
                let chart = grant.subject(id).await?;
                let mut tx = db.read(&chart).await?;
                let written = sqlx::query("update notes set author = ?").bind(CANARY).execute(tx.conn()).await;
                *kept.lock().unwrap() = written.as_ref().err().map(ToString::to_string);
                written.map_err(TxError::from).map_err(Problem::from)?;
                Ok::<_, Problem>(Json(()))
            }
        })
    });
    get(&service, &owner, &format!("/oops/{patient}")).await.is_problem(503);
    let said = stash.lock().unwrap().take().expect("an error");
    assert!(said.contains("readonly") && !said.contains(CANARY), "{said}");
}

#[tokio::test]
async fn a_note_moved_to_another_row_or_patient_does_not_open() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let ada = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let eve = bench.patient(&bench.harbour, "Eve", "hers").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<WriteNotes>(&trail, &bench.harbour).subject(eve).await.expect("open");
    insert_note(&bench.db, &chart, RowId::generate(&bench.clock), "hers too").await.expect("inserted");
    for (name, sql) in [
        (
            "another patient's note put to this one",
            "update notes set patient = (select id from patients order by id desc limit 1)",
        ),
        (
            "one note's text put into another row",
            "update notes set text = (select text from notes order by id desc limit 1)",
        ),
    ] {
        tamper(&bench.clinic_file(&bench.harbour), sql).await;
        let statuses = [
            get(&service, &owner, &format!("/patients/{ada}/notes")).await,
            get(&service, &owner, &format!("/patients/{eve}/notes")).await,
        ];
        assert!(statuses.iter().any(|reply| reply.status == 500), "{name}: {statuses:?}");
        for reply in statuses.iter().filter(|reply| reply.status != 200) {
            reply.is_problem(500);
        }
    }
}
