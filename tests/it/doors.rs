//! The doors: in which order they decide, what they answer to whoever may not, and what is recorded.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::Method;
use tower_ward::{
    access::{Closed, Cohort, CohortQuery, DoorError, Grant, MAX_COHORT, Permission, Relations, Scope, danger_grant},
    audit::{Action, End, Kind, Record},
    axum::{Json, Path},
    clock::Clock,
    db::Change,
    field::Encrypted,
    id::{SubjectId, UserId},
    problem::Problem,
};

use crate::support::{
    Bench, CANARY, Reply, Setup, User, get,
    model::{AdmitPatients, KeepStaff, ListPatients, NoteText, Patients, ReadNotes, WriteNotes, row_of},
    of_kind, post, request, send,
};

fn notes(patient: SubjectId) -> String {
    format!("/patients/{patient}/notes")
}

/// The one refusal among these records.
#[track_caller]
fn refusal(records: &[Record]) -> &Record {
    let [refused] = records else { panic!("one record was expected: {records:?}") };
    assert_eq!((refused.kind(), refused.action()), (Kind::Refused, Some(Action::Denied)));
    refused
}

// proves GLM-12, GLM-18, CLA-23: one clinic's doctor learns nothing about another's patients, or about his clinic's that
// are not his.
#[tokio::test]
async fn absent_foreign_unassigned_and_erased_people_are_one_and_the_same_404() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let doctor = bench.user(&bench.harbour, "doctor").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let unassigned = bench.patient(&bench.harbour, CANARY, CANARY).await;
    let foreign = bench.patient(&bench.meadow, CANARY, CANARY).await;
    let erased = bench.patient(&bench.harbour, CANARY, CANARY).await;
    bench.relate(&bench.harbour, &doctor, erased, Relations::ASSIGNED, None).await;
    assert_eq!(get(&service, &doctor, &notes(erased)).await.status, 200, "before the erasure");
    assert!(bench.keyring.erase_subject(&bench.harbour, erased).await.expect("erased").is_complete());
    let absent = SubjectId::generate(&bench.clock);

    let expected = get(&service, &doctor, &notes(absent)).await;
    expected.is_problem(404);
    for (name, user, patient, why) in [
        ("absent", &doctor, absent, "no_relation"),
        ("unassigned", &doctor, unassigned, "no_relation"),
        ("another clinic's", &doctor, foreign, "no_relation"),
        ("erased", &doctor, erased, "erased_person"),
        ("absent, for the whole clinic", &owner, absent, "unknown_person"),
        ("another clinic's, for the whole clinic", &owner, foreign, "unknown_person"),
        ("erased, for the whole clinic", &owner, erased, "erased_person"),
    ] {
        let (reply, records) = bench.records_of(get(&service, user, &notes(patient))).await;
        assert_eq!(reply.face(), expected.face(), "{name}");
        let refused = refusal(&records);
        assert_eq!((refused.reason(), refused.status()), (Some(why), Some(404)), "{name}");
        assert_eq!((refused.user(), refused.subjects()), (Some(user.id), &[patient][..]), "{name}");
        assert_eq!(refused.tenant(), Some(&bench.harbour), "{name}: in the asker's own chain");
    }
}

// proves CLA-17
#[tokio::test]
async fn a_door_that_opens_is_recorded_with_who_what_and_why() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    bench.relate(&bench.harbour, &doctor, patient, Relations::ASSIGNED, None).await;
    let family = bench.user(&bench.harbour, "family").await;
    bench.relate(&bench.harbour, &family, patient, Relations::CIRCLE, None).await;
    let herself = bench.user_who_is(&bench.harbour, "patient", Some(patient)).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    for (user, role, why) in [
        (&doctor, "doctor", "assigned"),
        (&family, "family", "circle"),
        (&herself, "patient", "own"),
        (&owner, "owner", "clinic"),
    ] {
        let (reply, records) = bench.records_of(get(&service, user, &notes(patient))).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, r#"["a cough"]"#), "{role}");
        let [opened, closed] = &records[..] else { panic!("{role}: {records:?}") };
        assert_eq!(
            (opened.kind(), opened.action(), opened.why()),
            (Kind::Opened, Some(Action::Read), Some(why)),
            "{role}"
        );
        assert_eq!(
            (opened.permission(), opened.entity(), opened.subjects()),
            (Some("notes.read"), Some("notes"), &[patient][..])
        );
        assert_eq!((opened.user(), opened.role(), opened.tenant()), (Some(user.id), Some(role), Some(&bench.harbour)));
        assert_eq!((opened.route(), opened.peer()), (Some("/patients/{id}/notes"), Some([192, 0, 2, 1].into())));
        assert_eq!(opened.request_id(), reply.header("x-request-id"));
        assert_eq!((closed.kind(), closed.end(), closed.status()), (Kind::Closed, Some(End::Completed), Some(200)));
        assert_eq!((closed.trail(), closed.bytes()), (opened.trail(), Some(reply.body.len() as u64)));
    }
}

#[tokio::test]
async fn a_relation_of_another_kind_than_the_policy_asks_for_opens_nothing() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    for (role, relation) in [
        ("doctor", Relations::CIRCLE),
        ("family", Relations::ASSIGNED),
        ("patient", Relations::ASSIGNED),
        ("patient", Relations::CIRCLE),
    ] {
        let user = bench.user(&bench.harbour, role).await;
        bench.relate(&bench.harbour, &user, patient, relation, None).await;
        get(&service, &user, &notes(patient)).await.is_problem(404);
    }
    // A doctor who is a patient here has no `own` by his role.
    let herself = bench.user_who_is(&bench.harbour, "doctor", Some(patient)).await;
    get(&service, &herself, &notes(patient)).await.is_problem(404);
}

#[tokio::test]
async fn an_assignment_ends_at_its_moment_and_not_a_millisecond_later() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    let until = bench.now().checked_add(Duration::from_secs(60)).expect("in range");
    bench.relate(&bench.harbour, &doctor, patient, Relations::ASSIGNED, Some(until)).await;
    bench.clock.advance(Duration::from_millis(59_999));
    assert_eq!(get(&service, &doctor, &notes(patient)).await.status, 200);
    assert_eq!(get(&service, &doctor, "/patients").await.body, r#"["Ada"]"#);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(get(&service, &doctor, &notes(patient)).await.status, 404);
    assert_eq!(get(&service, &doctor, "/patients").await.body, "[]");
}

// proves CCA-24
#[tokio::test]
async fn a_patient_with_own_opens_himself_and_nobody_else() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let himself = bench.patient(&bench.harbour, "Abel", "mine").await;
    let other = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let user = bench.user_who_is(&bench.harbour, "patient", Some(himself)).await;
    assert_eq!(get(&service, &user, &notes(himself)).await.body, r#"["mine"]"#);
    get(&service, &user, &notes(other)).await.is_problem(404);
    assert_eq!(get(&service, &user, "/patients").await.body, r#"["Abel"]"#);
    // An account that is nobody in particular owns nothing.
    let nobody = bench.user(&bench.harbour, "patient").await;
    get(&service, &nobody, &notes(himself)).await.is_problem(404);
    assert_eq!(get(&service, &nobody, "/patients").await.body, "[]");
    // The same person's account in another clinic, where somebody has the same id by forgery.
    let foreign = bench.user_who_is(&bench.meadow, "patient", Some(himself)).await;
    get(&service, &foreign, &notes(himself)).await.is_problem(404);
}

#[tokio::test]
async fn the_doors_that_lead_to_no_person_refuse_who_has_only_some_people() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    bench.relate(&bench.harbour, &doctor, patient, Relations::ASSIGNED, None).await;
    let herself = bench.user_who_is(&bench.harbour, "patient", Some(patient)).await;
    for (name, user) in [("assigned", &doctor), ("own", &herself)] {
        let (reply, records) = bench.records_of(get(&service, user, "/staff")).await;
        reply.is_problem(403);
        assert_eq!(refusal(&records).reason(), Some("not_clinic_wide"), "{name}");
        let (reply, records) = bench.records_of(post(&service, user, "/patients", "\"New\"")).await;
        reply.is_problem(403);
        assert_eq!(refusal(&records).reason(), Some("not_clinic_wide"), "{name}");
    }
    let owner = bench.user(&bench.harbour, "owner").await;
    assert_eq!(get(&service, &owner, "/staff").await.status, 200);
    let reply = post(&service, &owner, "/patients", "\"New\"").await;
    let id: SubjectId = serde_json::from_str(&reply.body).expect("an id");
    bench.keyring.subject(&bench.harbour, id).await.expect("its key is durable");
}

#[tokio::test]
async fn a_source_of_relations_that_fails_is_a_refusal_and_is_recorded() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    bench.relate(&bench.harbour, &doctor, patient, Relations::ASSIGNED, None).await;
    bench.break_relations(true);
    for path in [notes(patient), "/patients".to_owned()] {
        let (reply, records) = bench.records_of(get(&service, &doctor, &path)).await;
        reply.is_problem(503);
        let refused = refusal(&records);
        assert_eq!((refused.reason(), refused.status()), (Some("relations_unavailable"), Some(503)), "{path}");
    }
    bench.break_relations(false);
    assert_eq!(get(&service, &doctor, &notes(patient)).await.status, 200);
}

#[tokio::test]
async fn a_key_that_is_damaged_is_a_refusal_and_is_recorded() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let owner = bench.user(&bench.harbour, "owner").await;
    let patient = SubjectId::generate(&bench.clock);
    let name =
        tower_ward::store::ObjectName::tenant(&bench.harbour, "key", &format!("subject-{patient}")).expect("a name");
    bench.store.insert_new(&name, b"not a key", None).await.expect("written");
    let (reply, records) = bench.records_of(get(&service, &owner, &notes(patient))).await;
    reply.is_problem(503);
    assert_eq!(refusal(&records).reason(), Some("key_unavailable"));
}

/// Relation first: for somebody without one, neither the key store nor the ledger's door is touched. Key second: a record
/// that says "opened" means that it was.
#[tokio::test]
async fn the_order_at_a_door_is_relation_then_key_then_record() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let doctor = bench.user(&bench.harbour, "doctor").await;
    // A broken key behind a relation that does not hold: the answer is that of the relation.
    let patient = SubjectId::generate(&bench.clock);
    let name =
        tower_ward::store::ObjectName::tenant(&bench.harbour, "key", &format!("subject-{patient}")).expect("a name");
    bench.store.insert_new(&name, b"not a key", None).await.expect("written");
    let (reply, records) = bench.records_of(get(&service, &doctor, &notes(patient))).await;
    assert_eq!((reply.status, refusal(&records).reason()), (404, Some("no_relation")));
    // A role that reaches the whole clinic asks for no relation.
    let owner = bench.user(&bench.harbour, "owner").await;
    let asked = bench.relations_asked();
    let known = bench.patient(&bench.harbour, "Ada", "a cough").await;
    assert_eq!(get(&service, &owner, &notes(known)).await.status, 200);
    assert_eq!(bench.relations_asked(), asked);
    // No key, no record of an opened door.
    let (_, records) = bench.records_of(get(&service, &owner, &notes(patient))).await;
    assert!(of_kind(&records, Kind::Opened).is_empty(), "{records:?}");
}

/// A query that says whatever the test wants.
struct Forged(Vec<SubjectId>);

impl<P: Permission> CohortQuery<P> for Forged {
    type Row = SubjectId;

    fn subject(row: &SubjectId) -> SubjectId {
        *row
    }

    async fn rows(self, _: &Scope<P>) -> Result<Vec<SubjectId>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0)
    }
}

/// Lists whom the test put into `rows`.
async fn list(bench: &Bench, user: &User, rows: Vec<SubjectId>) -> (Reply, Vec<Record>) {
    let service = bench.serve(|router| {
        router.get("/forged", move |grant: Grant<ListPatients>| {
            let rows = rows.clone();
            async move { Ok::<_, Problem>(Json(grant.cohort(Forged(rows)).await?.iter().count())) }
        })
    });
    bench.records_of(get(&service, user, "/forged")).await
}

// proves CLA-12 for the filter: a query that forgets its scope leaks nobody.
#[tokio::test]
async fn a_list_that_leaves_its_scope_by_one_person_is_refused_whole() {
    let bench = Bench::new().await;
    let mine = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let other = bench.patient(&bench.harbour, "Eve", CANARY).await;
    let foreign = bench.patient(&bench.meadow, "Max", CANARY).await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    bench.relate(&bench.harbour, &doctor, mine, Relations::ASSIGNED, None).await;
    let herself = bench.user_who_is(&bench.harbour, "patient", Some(mine)).await;
    for (name, user, rows) in [
        ("an unassigned person", &doctor, vec![mine, other]),
        ("a foreign person", &doctor, vec![mine, foreign]),
        ("first and last", &doctor, vec![other, mine, other]),
        ("not oneself", &herself, vec![mine, other]),
    ] {
        let (reply, records) = list(&bench, user, rows).await;
        reply.is_problem(503);
        let refused = refusal(&records);
        assert_eq!((refused.reason(), refused.status()), (Some("query_left_its_scope"), Some(503)), "{name}");
    }
    // For the whole clinic every relation holds, but there is no key of another clinic's patient: nothing of him opens,
    // and the record does not name him.
    let owner = bench.user(&bench.harbour, "owner").await;
    let (reply, records) = list(&bench, &owner, vec![foreign, mine]).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "1"));
    assert_eq!(of_kind(&records, Kind::Opened)[0].subjects(), [mine]);
}

#[tokio::test]
async fn an_erased_person_is_left_out_of_lists_and_takes_nobody_along() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let ada = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let gone = bench.patient(&bench.harbour, CANARY, CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    assert!(bench.keyring.erase_subject(&bench.harbour, gone).await.expect("erased").is_complete());
    let (reply, records) = bench.records_of(get(&service, &owner, "/patients")).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"["Ada"]"#));
    assert_eq!(of_kind(&records, Kind::Opened)[0].subjects(), [ada]);
}

#[tokio::test]
async fn a_damaged_key_in_a_list_is_a_refusal_and_is_recorded() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let damaged = SubjectId::generate(&bench.clock);
    let name =
        tower_ward::store::ObjectName::tenant(&bench.harbour, "key", &format!("subject-{damaged}")).expect("a name");
    bench.store.insert_new(&name, b"not a key", None).await.expect("written");
    let owner = bench.user(&bench.harbour, "owner").await;
    let (reply, records) = list(&bench, &owner, vec![ada, damaged]).await;
    reply.is_problem(503);
    assert_eq!(refusal(&records).reason(), Some("key_unavailable"));
}

#[tokio::test]
async fn a_timeline_is_had_through_the_door_of_its_person_and_while_the_request_lasts() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let other = bench.patient(&bench.harbour, "Eve", "a cold").await;
    let (trail, mut closer) = bench.trail();
    let chart = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    let timeline = chart.timeline(None, 100).await.expect("read").records;
    assert!(timeline.iter().any(|record| record.trail() == Some(trail.id())), "this very reading is in it");
    assert!(timeline.iter().all(|record| record.subjects().contains(&patient) && !record.subjects().contains(&other)));
    closer.finish(End::Completed);
    assert!(matches!(chart.timeline(None, 100).await, Err(DoorError::Closed(Closed))));
}

#[tokio::test]
async fn one_record_lists_everybody_whom_a_list_returned_once() {
    let bench = Bench::new().await;
    let ada = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let eve = bench.patient(&bench.harbour, "Eve", "a cold").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (reply, records) = list(&bench, &owner, vec![eve, ada, eve]).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "3"));
    let opened = of_kind(&records, Kind::Opened);
    assert_eq!(opened.len(), 1, "{records:?}");
    let mut people = [ada, eve];
    people.sort_unstable();
    assert_eq!((opened[0].action(), opened[0].subjects()), (Some(Action::Search), &people[..]));
    // A list of nobody is a search all the same.
    let (reply, records) = list(&bench, &owner, vec![]).await;
    assert_eq!((reply.status, of_kind(&records, Kind::Opened)[0].subjects().len()), (200, 0));
}

/// A policy that names `own` first must not have it stand in the record of somebody who is only assigned.
#[tokio::test]
async fn the_record_of_a_list_states_the_relations_that_held_and_no_others() {
    let bench = Bench::new().await;
    let herself = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let assigned = bench.patient(&bench.harbour, "Eve", "a cold").await;
    let nurse = bench.user_who_is(&bench.harbour, "every_relation", Some(herself)).await;
    bench.relate(&bench.harbour, &nurse, assigned, Relations::ASSIGNED, None).await;
    let owner = bench.user_who_is(&bench.harbour, "owner", Some(herself)).await;
    let why = |records: &[Record], kind| of_kind(records, kind)[0].why().expect("a relation").to_owned();
    for (user, rows, expected) in [
        (&nurse, vec![assigned], "assigned"),
        (&nurse, vec![herself], "own"),
        (&nurse, vec![herself, assigned], "own,assigned"),
        (&owner, vec![herself, assigned], "clinic"),
        (&nurse, vec![], "own,assigned,circle"),
    ] {
        let (reply, records) = list(&bench, user, rows).await;
        assert_eq!((reply.status, why(&records, Kind::Opened).as_str()), (200, expected));
    }
    // A change through one of the rows' grants says what held to that person.
    for (person, expected) in [(assigned, "assigned"), (herself, "own")] {
        let db = bench.db.clone();
        let change = move |grant: Grant<AdmitPatients>| {
            let db = db.clone();
            async move {
                let cohort = grant.cohort(Forged(vec![herself, assigned])).await?;
                let (_, chart) = cohort.iter().find(|(row, _)| **row == person).expect("listed");
                db.change(chart, Change::import("patients")).await?.commit().await?;
                Ok::<_, Problem>("changed")
            }
        };
        let service = bench.serve(|router| router.get("/change", change));
        let (reply, records) = bench.records_of(get(&service, &nurse, "/change")).await;
        assert_eq!((reply.body.as_str(), why(&records, Kind::Attempt).as_str()), ("changed", expected));
    }
}

#[tokio::test]
async fn a_list_longer_than_one_record_holds_is_refused() {
    let bench = Bench::new().await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let one = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let (reply, _) = list(&bench, &owner, vec![one; MAX_COHORT]).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "500"));
    let (reply, records) = list(&bench, &owner, vec![one; MAX_COHORT + 1]).await;
    reply.is_problem(500);
    assert_eq!(refusal(&records).reason(), Some("query_not_paged"));
}

/// What a request hands to the outside, to be used when it is over.
type Stash<T> = Arc<Mutex<Option<T>>>;

#[tokio::test]
async fn what_was_smuggled_out_of_a_request_opens_nothing_once_it_has_ended() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let stash: Stash<Grant<ReadNotes>> = Arc::default();
    let kept = Arc::clone(&stash);
    let (late, told) = tokio::sync::oneshot::channel();
    let late = Arc::new(Mutex::new(Some(late)));
    let service = bench.serve(|router| {
        router
            .get("/stash", move |grant: Grant<ReadNotes>| {
                *kept.lock().unwrap() = Some(grant);
                async { "kept" }
            })
            .get("/spawn/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
                let late = late.lock().unwrap().take().expect("once");
                async move {
                    let chart = grant.subject(id).await?;
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        let row = row_of(id);
                        let sealed = Encrypted::<NoteText>::seal(&"late".to_owned(), &chart, row).map_err(|e| e.kind());
                        let opened = Encrypted::<NoteText>::from_bytes([1; 64]).open(&chart, row).is_ok();
                        late.send((grant.subject(id).await, sealed, opened)).expect("the test waits");
                    });
                    Ok::<_, Problem>("gone")
                }
            })
    });
    assert_eq!(get(&service, &owner, "/stash").await.body, "kept");
    let grant = stash.lock().unwrap().take().expect("kept");
    let (_, records) = bench
        .records_of(async {
            assert!(matches!(grant.subject(patient).await, Err(DoorError::Closed(Closed))));
            assert!(matches!(grant.clinic().await, Err(DoorError::Closed(Closed))));
            assert!(matches!(grant.admit().await, Err(DoorError::Closed(Closed))));
        })
        .await;
    assert!(records.is_empty(), "{records:?}");

    assert_eq!(get(&service, &owner, &format!("/spawn/{patient}")).await.body, "gone");
    let (door, sealed, opened) = told.await.expect("told");
    assert!(matches!(door, Err(DoorError::Closed(Closed))));
    assert!(matches!(sealed, Err(tower_ward::field::SealErrorKind::Closed(_))));
    assert!(!opened);
}

/// A grant that one request lends to another while both run: what the second opened with it would stand under the first
/// one's name, and leave without waiting for the record.
#[tokio::test]
async fn a_grant_opens_nothing_in_the_handler_of_another_request() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    let (lender, borrower) = tokio::sync::mpsc::channel(1);
    let (borrower, over) = (Arc::new(tokio::sync::Mutex::new(borrower)), Arc::new(tokio::sync::Notify::new()));
    let (db, ended) = (bench.db.clone(), Arc::clone(&over));
    let lend = move |grant: Grant<WriteNotes>| {
        let (lender, ended) = (lender.clone(), Arc::clone(&ended));
        async move {
            let chart = grant.subject(patient).await?;
            assert!(lender.send((grant, chart)).await.is_ok());
            ended.notified().await;
            Ok::<_, Problem>("lent")
        }
    };
    let borrow = move |_: Grant<WriteNotes>| {
        let (borrower, db) = (Arc::clone(&borrower), db.clone());
        async move {
            let (grant, chart) = borrower.lock().await.recv().await.expect("lent");
            let door = matches!(grant.subject(patient).await, Err(DoorError::Closed(Closed)));
            let sealed = Encrypted::<NoteText>::seal(&"theirs".to_owned(), &chart, row_of(patient)).is_ok();
            let read = db.read(&chart).await.is_ok();
            let changed = db.change(&chart, Change::import("notes")).await.is_ok();
            format!("{door} {sealed} {read} {changed}")
        }
    };
    let service = bench.serve(|router| router.get("/lend", lend).get("/borrow", borrow));
    let (lent, borrowed) = tokio::join!(get(&service, &owner, "/lend"), async {
        let reply = get(&service, &doctor, "/borrow").await;
        over.notify_one();
        reply
    });
    assert_eq!((lent.body.as_str(), borrowed.body.as_str()), ("lent", "true false false false"));
}

/// A body of one frame, which is made when it is asked for.
struct Later(Option<Pin<Box<dyn Future<Output = String> + Send>>>);

impl http_body::Body for Later {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let Some(frame) = &mut self.0 else { return Poll::Ready(None) };
        let text = ready!(frame.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(Some(Ok(http_body::Frame::data(text.into()))))
    }
}

/// The same in the body of the other request's response, which is sent after its handler has returned.
#[tokio::test]
async fn a_grant_opens_nothing_in_the_streamed_body_of_another_request() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (lender, borrower) = tokio::sync::mpsc::channel(1);
    let (borrower, over) = (Arc::new(tokio::sync::Mutex::new(borrower)), Arc::new(tokio::sync::Notify::new()));
    let ended = Arc::clone(&over);
    let lend = move |grant: Grant<ReadNotes>| {
        let (lender, ended) = (lender.clone(), Arc::clone(&ended));
        async move {
            let chart = grant.subject(patient).await?;
            let sealed = Encrypted::<NoteText>::seal(&CANARY.to_owned(), &chart, row_of(patient)).expect("sealed");
            assert!(lender.send((chart, sealed)).await.is_ok());
            ended.notified().await;
            Ok::<_, Problem>("lent")
        }
    };
    let borrow = move |_: Grant<ReadNotes>| {
        let borrower = Arc::clone(&borrower);
        async move {
            let frame = async move {
                let (chart, sealed) = borrower.lock().await.recv().await.expect("lent");
                let opened: Result<String, _> = sealed.open(&chart, row_of(patient)).map(|text| text.disclose());
                opened.is_ok().to_string()
            };
            axum::body::Body::new(Later(Some(Box::pin(frame))))
        }
    };
    let service = bench.serve(|router| router.get("/lend", lend).get("/borrow", borrow));
    let (lent, borrowed) = tokio::join!(get(&service, &owner, "/lend"), async {
        let reply = get(&service, &owner, "/borrow").await;
        over.notify_one();
        reply
    });
    assert_eq!((lent.body.as_str(), borrowed.body.as_str()), ("lent", "false"));
}

/// A trail of one's own, begun while a request is answered: its doors open where it covers the work.
#[tokio::test]
async fn a_trail_begun_in_a_handler_opens_its_doors_where_it_covers_the_work() {
    let bench = Arc::new(Bench::new().await);
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let inner = Arc::clone(&bench);
    let service = bench.serve(|router| {
        router.get("/own", move |_: Grant<ReadNotes>| {
            let bench = Arc::clone(&inner);
            async move {
                let (trail, mut closer) = bench.trail();
                let grant = bench.danger::<ReadNotes>(&trail, &bench.harbour);
                let bare = grant.subject(patient).await.is_ok();
                let covered = trail.cover(grant.subject(patient)).await.is_ok_and(|door| door.is_ok());
                closer.finish(End::Completed);
                format!("{bare} {covered}")
            }
        })
    });
    let (reply, records) = bench.records_of(get(&service, &owner, "/own")).await;
    assert_eq!(reply.body, "false true");
    assert_eq!(of_kind(&records, Kind::Opened).len(), 1);
}

#[tokio::test]
async fn one_user_reads_one_timeline_at_a_time_and_keeps_nobody_else_waiting() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    // A refusal makes no room either: the third is one too many, as the second is. The first may have read to its end
    // before the second begins, so this is tried until it has not.
    let mut refused = None;
    for _ in 0..100 {
        let (first, second, third) =
            tokio::join!(chart.timeline(None, 10), chart.timeline(None, 10), chart.timeline(None, 10));
        assert!(first.is_ok());
        if let (Err(second), Err(third)) = (second, third) {
            refused = Some([second, third]);
            break;
        }
    }
    for busy in refused.expect("two at a time, or a refusal made room") {
        assert_eq!(Problem::from(busy).kind().status(), 429);
    }
    assert!(chart.timeline(None, 10).await.is_ok(), "one after the other");
}

#[tokio::test]
async fn a_smuggled_grant_of_a_list_does_not_even_run_the_query() {
    struct Counts(Arc<Mutex<u32>>);
    impl CohortQuery<ListPatients> for Counts {
        type Row = SubjectId;
        fn subject(row: &SubjectId) -> SubjectId {
            *row
        }
        async fn rows(
            self,
            _: &Scope<ListPatients>,
        ) -> Result<Vec<SubjectId>, Box<dyn std::error::Error + Send + Sync>> {
            *self.0.lock().unwrap() += 1;
            Ok(vec![])
        }
    }
    let bench = Bench::new().await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let stash: Stash<Grant<ListPatients>> = Arc::default();
    let kept = Arc::clone(&stash);
    let service = bench.serve(|router| {
        router.get("/stash", move |grant: Grant<ListPatients>| {
            *kept.lock().unwrap() = Some(grant);
            async { "kept" }
        })
    });
    assert_eq!(get(&service, &owner, "/stash").await.status, 200);
    let grant = stash.lock().unwrap().take().expect("kept");
    let ran = Arc::new(Mutex::new(0));
    let cohort: Result<Cohort<_, _>, _> = grant.cohort(Counts(Arc::clone(&ran))).await;
    assert!(matches!(cohort, Err(DoorError::Closed(Closed))));
    assert_eq!(*ran.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_request_older_than_its_deadline_opens_no_more_doors() {
    // The request's own deadline is beyond the trail's, which is looked at here.
    let bench = Bench::with(Setup { deadline: Duration::from_secs(3_600), ..Setup::default() }).await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let clock = bench.clock.clone();
    let found: Stash<(bool, bool)> = Arc::default();
    let kept = Arc::clone(&found);
    let service = bench.serve(|router| {
        router.get("/slow/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let (clock, kept) = (clock.clone(), Arc::clone(&kept));
            async move {
                clock.advance(Duration::from_secs(600) - Duration::from_nanos(1));
                let before = grant.subject(id).await.is_ok();
                clock.advance(Duration::from_nanos(1));
                let after = matches!(grant.subject(id).await, Err(DoorError::Closed(Closed)));
                *kept.lock().unwrap() = Some((before, after));
                "too late"
            }
        })
    });
    let reply = get(&service, &owner, &format!("/slow/{patient}")).await;
    assert_eq!(*found.lock().unwrap(), Some((true, true)));
    // Its body was cut off as well.
    assert_eq!((reply.body.as_str(), reply.whole), ("", false));
}

#[tokio::test]
async fn a_danger_grant_is_recorded_as_what_it_is() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let user = UserId::from_bytes([3; 16]);
    let ((), records) = bench
        .records_of(async {
            let (trail, mut closer) = bench.trail();
            let grant: Grant<ReadNotes> = danger_grant(
                &trail,
                &bench.keyring,
                &bench.shared_clock(),
                user,
                bench.harbour.clone(),
                "our own rules",
            )
            .expect("recorded");
            let _ = grant.subject(patient).await.expect("open");
            closer.finish(End::Completed);
            assert!(matches!(grant.subject(patient).await, Err(DoorError::Closed(Closed))));
        })
        .await;
    let [granted, opened, closed] = &records[..] else { panic!("{records:?}") };
    assert_eq!((granted.kind(), granted.action()), (Kind::Event, Some(Action::Configuration)));
    assert_eq!((granted.entity(), granted.reason()), (Some("notes.read"), Some("our own rules")));
    for record in [granted, opened, closed] {
        assert_eq!(
            (record.user(), record.role(), record.tenant()),
            (Some(user), Some("application"), Some(&bench.harbour))
        );
    }
    assert_eq!((opened.kind(), opened.subjects()), (Kind::Opened, &[patient][..]));
    // Its key is the clinic's: another clinic's patient is as absent as for everybody.
    let foreign = bench.patient(&bench.meadow, "Max", CANARY).await;
    let (trail, _closer) = bench.trail();
    assert!(matches!(
        bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(foreign).await,
        Err(DoorError::NotFound)
    ));
    // Where it cannot be recorded, there is none.
    let (trail, mut closer) = bench.trail();
    closer.finish(End::Completed);
    let late: Result<Grant<ReadNotes>, _> =
        danger_grant(&trail, &bench.keyring, &bench.shared_clock(), user, bench.harbour.clone(), "our own rules");
    assert!(late.is_err());
}

#[tokio::test]
async fn nothing_about_a_person_stands_in_the_debug_print_of_a_grant() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, CANARY, CANARY).await;
    let (trail, _closer) = bench.trail();
    let notes = bench.danger::<ReadNotes>(&trail, &bench.harbour);
    let list = bench.danger::<ListPatients>(&trail, &bench.harbour);
    let staff = bench.danger::<KeepStaff>(&trail, &bench.harbour).clinic().await.expect("open");
    let admit = bench.danger::<AdmitPatients>(&trail, &bench.harbour);
    let chart = notes.subject(patient).await.expect("open");
    let cohort = list.cohort(Patients { db: bench.db.clone(), now: bench.clock.now() }).await.expect("open");
    let printed = format!("{notes:?} {list:?} {staff:?} {admit:?} {chart:?} {cohort:?}");
    assert!(!printed.contains(CANARY), "{printed}");
    assert!(printed.contains("notes.read"), "{printed}");
}

#[tokio::test]
async fn a_list_that_may_see_nobody_is_empty_and_not_everybody() {
    let bench = Bench::new().await;
    let service = bench.serve(|router| router);
    let _ = bench.patient(&bench.harbour, "Ada", "a cough").await;
    for role in ["doctor", "patient", "every_relation"] {
        let user = bench.user(&bench.harbour, role).await;
        let reply = get(&service, &user, "/patients").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "[]"), "{role}");
    }
    let desk = bench.user(&bench.meadow, "receptionist").await;
    assert_eq!(get(&service, &desk, "/patients").await.body, "[]", "the neighbour's whole clinic");
    assert_eq!(send(&service, request(Method::GET, None, "/patients")).await.status, 401);
}
