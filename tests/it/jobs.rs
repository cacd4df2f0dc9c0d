//! Background work: what an envelope is worth, to whom, for how long, and how often.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::StatusCode;
use data_encoding::BASE64URL_NOPAD;
use tower_ward::{
    access::{
        Authority, BoxFuture, CohortQuery, DoorError, Grant, JobError, JobGrant, MAX_ENVELOPE_BYTES, MAX_JOB_LIFE,
        OpenDoor, Relations, Scope, Task,
    },
    audit::{Action, End, Kind, LedgerOptions, Record},
    axum::Path,
    clock::{ManualClock, Timestamp},
    id::{SubjectId, TenantId},
    keys::RootKey,
    problem::Problem,
    store::{Durable, Entry, MemoryStore, ObjectName, Prefix, SqliteStore, StoreError},
};

use crate::support::{
    Bench, CANARY, Setup, User, get,
    model::{AdmitPatients, Audit, Digest, KeepStaff, Letters, ReadNotes, Remind, Undeclared, notes_of},
    of_kind,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Issues an envelope in a request of this user's, from the door of one person or of the clinic.
async fn issued<T: Task<Permission = P>, P: tower_ward::access::Permission>(
    bench: &Bench,
    user: &User,
    subject: Option<SubjectId>,
    life: Duration,
) -> Result<String, JobError> {
    let out: Arc<Mutex<Option<Result<String, JobError>>>> = Arc::default();
    let (kept, jobs) = (Arc::clone(&out), bench.jobs().clone());
    let service = bench.serve(|router| {
        router.get("/issue", move |grant: Grant<P>| {
            let (kept, jobs) = (Arc::clone(&kept), jobs.clone());
            async move {
                let envelope = match subject {
                    Some(subject) => issue::<T>(&jobs, &grant.subject(subject).await?, life).await,
                    None => issue::<T>(&jobs, &grant.clinic().await?, life).await,
                };
                *kept.lock().unwrap() = Some(envelope);
                Ok::<_, Problem>(StatusCode::NO_CONTENT)
            }
        })
    });
    assert_eq!(get(&service, user, "/issue").await.status, 204);
    let envelope = out.lock().unwrap().take();
    envelope.expect("issued or refused")
}

async fn issue<T: Task>(
    jobs: &tower_ward::access::Jobs,
    by: &impl OpenDoor,
    life: Duration,
) -> Result<String, JobError> {
    jobs.issue::<T>(by, life).await
}

/// Runs an envelope that should be refused before its work.
#[track_caller]
fn refused<T: Task>(bench: &Bench, envelope: &str) -> impl Future<Output = JobError> {
    let run = bench.jobs().run::<T, _, _, _>(envelope, |_| async { panic!("the work was reached") });
    async move {
        match run.await {
            Ok(()) => unreachable!("the work panics"),
            Err(error) => error,
        }
    }
}

async fn run<T: Task>(bench: &Bench, envelope: &str) -> Result<Option<SubjectId>, JobError> {
    bench.jobs().run::<T, _, _, _>(envelope, |job: JobGrant<T>| async move { job.subject_id() }).await
}

fn split(envelope: &str) -> (Vec<u8>, &str) {
    let (payload, tag) = envelope.strip_prefix("twj1.").unwrap().split_once('.').unwrap();
    (BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap(), tag)
}

#[tokio::test]
async fn an_envelope_that_was_forged_or_changed_is_refused_in_one_sentence() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let envelope = issued::<Remind, _>(&bench, &owner, Some(patient), HOUR).await.expect("issued");
    let (payload, tag) = split(&envelope);
    let other = issued::<Remind, _>(&bench, &owner, Some(patient), HOUR).await.expect("issued");
    let pack = |payload: &[u8]| format!("twj1.{}.{tag}", BASE64URL_NOPAD.encode(payload));
    let text = String::from_utf8(payload.clone()).unwrap();
    let edited = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        pack(text.replace(from, to).as_bytes())
    };
    let neighbour = Bench::new().await;
    let theirs = neighbour.jobs().danger_issue_for_clinic::<Remind>(neighbour.harbour.clone(), HOUR).expect("issued");
    let mut flipped = payload.clone();
    flipped[0] ^= 1;
    for (name, forged) in [
        ("another clinic", edited("harbour", "meadow")),
        ("another person", edited(&patient.to_string(), &SubjectId::generate(&bench.clock).to_string())),
        ("another task", edited("remind", "digest")),
        ("another permission", edited("notes.read", "staff.keep")),
        ("a longer life", edited("\"expires\":1", "\"expires\":9")),
        ("one bit", pack(&flipped)),
        ("another envelope's tag", format!("twj1.{}.{}", BASE64URL_NOPAD.encode(&payload), split(&other).1)),
        ("no tag", format!("twj1.{}.", BASE64URL_NOPAD.encode(&payload))),
        ("half a tag", envelope[..envelope.len() - 22].to_owned()),
        ("a tag of zeros", format!("twj1.{}.{}", BASE64URL_NOPAD.encode(&payload), "A".repeat(43))),
        ("another version", envelope.replace("twj1", "twj2")),
        ("no version", envelope["twj1.".len()..].to_owned()),
        ("padding", format!("{envelope}=")),
        ("white space", format!(" {envelope}")),
        ("three parts", format!("{envelope}.{tag}")),
        ("empty", String::new()),
        ("longer than any", "A".repeat(MAX_ENVELOPE_BYTES + 1)),
        ("another installation's", theirs),
    ] {
        let error = refused::<Remind>(&bench, &forged).await;
        assert!(matches!(error, JobError::Invalid), "{name}: {error:?}");
        assert_eq!(error.to_string(), "the envelope is not valid for this task");
    }
    assert_eq!(run::<Remind>(&bench, &envelope).await.expect("it is good, and was not used up"), Some(patient));
}

#[tokio::test]
async fn an_envelope_is_for_one_task_even_where_another_needs_the_same_permission() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let envelope = issued::<Remind, _>(&bench, &owner, Some(patient), HOUR).await.expect("issued");
    assert!(matches!(refused::<Digest>(&bench, &envelope).await, JobError::Invalid));
    assert!(matches!(refused::<Letters>(&bench, &envelope).await, JobError::Invalid));
    assert!(matches!(refused::<Undeclared>(&bench, &envelope).await, JobError::Undeclared("undeclared")));
    run::<Remind>(&bench, &envelope).await.expect("unused");
}

#[tokio::test]
async fn nobody_issues_what_he_did_not_open() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let jobs = bench.jobs().clone();
    let seen: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let service = bench.serve(|router| {
        router.get("/issue/{id}", move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>| {
            let (jobs, noted) = (jobs.clone(), Arc::clone(&noted));
            async move {
                let chart = grant.subject(id).await?;
                let note = |name, result: Result<String, JobError>, as_expected: fn(&JobError) -> bool| {
                    assert!(result.as_ref().is_err_and(as_expected), "{name}: {result:?}");
                    noted.lock().unwrap().push(name);
                };
                let invalid = |e: &JobError| matches!(e, JobError::Invalid);
                let life = |e: &JobError| matches!(e, JobError::Life);
                note("another permission", jobs.issue::<Letters>(&chart, HOUR).await, invalid);
                note("another permission, clinic", jobs.issue::<Audit>(&chart, HOUR).await, invalid);
                let undeclared = |e: &JobError| matches!(e, JobError::Undeclared(_));
                note("undeclared", jobs.issue::<Undeclared>(&chart, HOUR).await, undeclared);
                note("no life", jobs.issue::<Remind>(&chart, Duration::ZERO).await, life);
                let long = MAX_JOB_LIFE + Duration::from_nanos(1);
                note("a long life", jobs.issue::<Remind>(&chart, long).await, life);
                assert!(jobs.issue::<Remind>(&chart, MAX_JOB_LIFE).await.is_ok());
                Ok::<_, Problem>(())
            }
        })
    });
    assert_eq!(get(&service, &owner, &format!("/issue/{patient}")).await.status, 200);
    assert_eq!(seen.lock().unwrap().len(), 5);
    // An application that decides by its own means, and a job, are no principals to be judged by later.
    let (trail, _closer) = bench.trail();
    let chart = bench.danger::<ReadNotes>(&trail, &bench.harbour).subject(patient).await.expect("open");
    assert!(matches!(bench.jobs().issue::<Remind>(&chart, HOUR).await, Err(JobError::Invalid)));
    let envelope = bench.jobs().danger_issue_for_clinic::<Remind>(bench.harbour.clone(), HOUR).expect("issued");
    let jobs = bench.jobs().clone();
    let chained = bench.jobs().run::<Remind, _, _, _>(&envelope, |job| async move {
        jobs.issue::<Remind>(&job.subject(patient).await.expect("open"), HOUR).await
    });
    assert!(matches!(chained.await.expect("ran"), Err(JobError::Invalid)));
}

#[tokio::test]
async fn a_grant_that_was_smuggled_out_issues_nothing() {
    let bench = Bench::new().await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let stash = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&stash);
    let service = bench.serve(|router| {
        router.get("/stash", move |grant: Grant<KeepStaff>| {
            let kept = Arc::clone(&kept);
            async move {
                let clinic = grant.clinic().await?;
                assert_eq!(clinic.permission(), "staff.keep");
                *kept.lock().unwrap() = Some(clinic);
                Ok::<_, Problem>(())
            }
        })
    });
    assert_eq!(get(&service, &owner, "/stash").await.status, 200);
    let clinic = stash.lock().unwrap().take().expect("kept");
    let late = bench.jobs().issue::<Audit>(&clinic, HOUR).await;
    assert!(matches!(late, Err(JobError::Door(DoorError::Closed(_)))), "{late:?}");
}

#[tokio::test]
async fn an_envelope_expires_at_its_moment() {
    let bench = Bench::new().await;
    let issue = || bench.jobs().danger_issue_for_clinic::<Remind>(bench.harbour.clone(), HOUR).expect("issued");
    let (early, late) = (issue(), issue());
    bench.clock.advance(HOUR - Duration::from_millis(1));
    run::<Remind>(&bench, &early).await.expect("a millisecond is left");
    bench.clock.advance(Duration::from_millis(1));
    assert!(matches!(refused::<Remind>(&bench, &late).await, JobError::Expired));
    // A used one does not live again.
    assert!(matches!(refused::<Remind>(&bench, &early).await, JobError::Expired));
}

// proves CLM-23
#[tokio::test]
async fn an_envelope_runs_once_also_after_a_restart_and_when_two_workers_get_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("store.sqlite");
    let root = RootKey::generate();
    let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().expect("a time"));
    let open = async |dir| {
        let store = SqliteStore::open_with_clock(&path, clock.shared()).await.expect("a store");
        Bench::open(dir, Arc::new(store), clock.clone(), &root, Setup::default()).await
    };
    let bench = open(tempfile::tempdir().expect("a folder")).await;
    let issue = || bench.jobs().danger_issue_for_clinic::<Remind>(bench.harbour.clone(), HOUR).expect("issued");
    let (used, unused, raced) = (issue(), issue(), issue());
    run::<Remind>(&bench, &used).await.expect("its first run");
    assert!(matches!(refused::<Remind>(&bench, &used).await, JobError::Used));
    let (one, two) = tokio::join!(run::<Remind>(&bench, &raced), run::<Remind>(&bench, &raced));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");

    let bench = open(bench.close().await).await;
    assert!(matches!(refused::<Remind>(&bench, &used).await, JobError::Used));
    assert!(matches!(refused::<Remind>(&bench, &raced).await, JobError::Used));
    run::<Remind>(&bench, &unused).await.expect("the key is the same");
    // A job that panicked has run: what it did before is not done again.
    let envelope = bench.jobs().danger_issue_for_clinic::<Remind>(bench.harbour.clone(), HOUR).expect("issued");
    let jobs = bench.jobs().clone();
    let again = envelope.clone();
    let crashed = tokio::spawn(async move {
        jobs.run::<Remind, _, _, _>(&envelope, |_| async {
            if true {
                panic!("half way")
            }
        })
        .await
    });
    assert!(crashed.await.is_err_and(|e| e.is_panic()));
    assert!(matches!(refused::<Remind>(&bench, &again).await, JobError::Used));
}

#[tokio::test]
async fn an_envelope_for_one_person_opens_that_person_and_no_other_door() {
    struct Nobody;
    impl CohortQuery<ReadNotes> for Nobody {
        type Row = SubjectId;
        fn subject(row: &SubjectId) -> SubjectId {
            *row
        }
        async fn rows(self, _: &Scope<ReadNotes>) -> Result<Vec<SubjectId>, Box<dyn std::error::Error + Send + Sync>> {
            panic!("the query was run")
        }
    }
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let other = bench.patient(&bench.harbour, "Eve", CANARY).await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let envelope = issued::<Remind, _>(&bench, &owner, Some(patient), HOUR).await.expect("issued");
    let db = bench.db.clone();
    let work = async |job: JobGrant<Remind>| {
        assert_eq!(job.subject_id(), Some(patient));
        assert!(matches!(job.subject(other).await, Err(DoorError::NotFound)));
        assert!(matches!(job.clinic().await, Err(DoorError::NotClinicWide("notes.read"))));
        assert!(matches!(job.admit().await, Err(DoorError::NotClinicWide("notes.read"))));
        assert!(matches!(job.cohort(Nobody).await, Err(DoorError::NotClinicWide("notes.read"))));
        notes_of(&db, &job.subject(patient).await?).await
    };
    let (notes, records) = bench.records_of(bench.jobs().run::<Remind, _, _, _>(&envelope, work)).await;
    assert_eq!(notes.expect("ran").expect("opened"), ["a cough"]);
    assert_eq!(of_kind(&records, Kind::Refused).len(), 4);
    let opened = of_kind(&records, Kind::Opened);
    assert_eq!((opened.len(), opened[0].subjects()), (1, &[patient][..]));
}

#[track_caller]
fn the_end(records: &[Record]) -> End {
    let closed = of_kind(records, Kind::Closed);
    assert_eq!(closed.len(), 1, "{records:?}");
    closed[0].end().expect("an end")
}

// proves CLA-48
#[tokio::test]
async fn a_jobs_records_name_clinic_task_and_issuer_and_its_trail_ends_with_it() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let owner = bench.user(&bench.harbour, "owner").await;
    let (envelope, records) = bench.records_of(issued::<Remind, _>(&bench, &owner, Some(patient), HOUR)).await;
    let issue: Vec<_> = records.iter().filter(|r| r.action() == Some(Action::Job)).collect();
    assert_eq!((issue.len(), issue[0].user(), issue[0].subjects()), (1, Some(owner.id), &[patient][..]));
    assert_eq!(issue[0].entity(), Some("remind"));
    let smuggled = Arc::new(Mutex::new(None));
    let (kept, envelope) = (Arc::clone(&smuggled), envelope.expect("issued"));
    let work = |job: JobGrant<Remind>| async move {
        let _ = job.subject(patient).await.expect("open");
        *kept.lock().unwrap() = Some(job);
    };
    let (ran, records) = bench.records_of(bench.jobs().run::<Remind, _, _, _>(&envelope, work)).await;
    ran.expect("ran");
    let opened = of_kind(&records, Kind::Opened)[0];
    assert_eq!((opened.tenant(), opened.user(), opened.role()), (Some(&bench.harbour), Some(owner.id), Some("job")));
    assert_eq!((opened.route(), opened.permission()), (Some("remind"), Some("notes.read")));
    assert_eq!(the_end(&records), End::Completed);
    let job = smuggled.lock().unwrap().take().expect("kept");
    assert!(matches!(job.subject(patient).await, Err(DoorError::Closed(_))));

    // A job that panics, and one that is dropped half-way.
    for (name, expected) in [("panics", End::Panicked), ("is dropped", End::Cancelled)] {
        let envelope = bench.jobs().danger_issue_for_clinic::<Remind>(bench.harbour.clone(), HOUR).expect("issued");
        let jobs = bench.jobs().clone();
        let ((), records) = bench
            .records_of(async {
                let reached = Arc::new(tokio::sync::Notify::new());
                let told = Arc::clone(&reached);
                let running = tokio::spawn(async move {
                    jobs.run::<Remind, _, _, _>(&envelope, |job| async move {
                        let _chart = job.subject(patient).await.expect("open");
                        told.notify_one();
                        if name == "panics" {
                            panic!("half way");
                        }
                        std::future::pending::<()>().await;
                    })
                    .await
                });
                reached.notified().await;
                tokio::task::yield_now().await;
                running.abort();
                let _ = running.await;
            })
            .await;
        assert_eq!(the_end(&records), expected, "{name}");
    }
}

#[tokio::test]
async fn a_jobs_result_is_withheld_while_the_ledger_cannot_write() {
    let ledger = LedgerOptions::new().with_segment_size(128 * 1024);
    let bench = Bench::with(Setup { ledger, ..Setup::default() }).await;
    let patient = bench.patient(&bench.harbour, "Ada", CANARY).await;
    let db = bench.db.clone();
    let work = async |job: JobGrant<Remind>| {
        let chart = job.subject(patient).await?;
        notes_of(&db, &chart).await
    };
    // The record that finds the segment full is a door's or, as often, the one that closes a job: then the next door
    // refuses already, and it is tried again.
    let mut blocked = bench.block_ledger().await;
    let mut ran = 0;
    let withheld = loop {
        let envelope = bench.jobs().danger_issue_for_clinic::<Remind>(bench.harbour.clone(), HOUR).expect("issued");
        match bench.jobs().run::<Remind, _, _, _>(&envelope, work).await {
            Ok(Ok(notes)) => assert_eq!(notes, [CANARY]),
            Ok(Err(_)) => {
                blocked.unblock(bench.ward.ledger()).await;
                blocked = bench.block_ledger().await;
            }
            Err(error) => break error,
        }
        ran += 1;
        assert!(ran < 10_000, "no door ever found the segment full");
    };
    assert!(matches!(withheld, JobError::Record), "{withheld:?}");
    blocked.unblock(bench.ward.ledger()).await;
    let ends: Vec<_> = bench.records().await.iter().filter_map(Record::end).collect();
    let failed = ends.iter().filter(|end| **end == End::Failed).count();
    assert_eq!(failed, 1, "the job whose result was withheld has failed");
}

/// An envelope lives up to seven days; what its issuer may do is asked again when it runs.
#[tokio::test]
async fn an_envelope_is_worth_what_its_issuer_may_do_when_it_runs() {
    let bench = Bench::new().await;
    let patient = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let doctor = bench.user(&bench.harbour, "doctor").await;
    bench.relate(&bench.harbour, &doctor, patient, Relations::ASSIGNED, Some(bench.now() + HOUR)).await;
    let open = async |job: JobGrant<Remind>| job.subject(patient).await.map(drop);
    let envelopes = async || issued::<Remind, _>(&bench, &doctor, Some(patient), 2 * HOUR).await.expect("issued");
    let (first, second, third) = (envelopes().await, envelopes().await, envelopes().await);
    bench.clock.advance(HOUR - Duration::from_millis(1));
    assert!(bench.jobs().run::<Remind, _, _, _>(&first, open).await.expect("ran").is_ok());
    bench.clock.advance(Duration::from_millis(1));
    let ended = bench.jobs().run::<Remind, _, _, _>(&second, open).await.expect("ran");
    assert!(matches!(ended, Err(DoorError::NotFound)), "the assignment ended: {ended:?}");
    // The clinic is no more.
    assert!(bench.ward.hosts().remove(&bench.harbour));
    assert!(matches!(refused::<Remind>(&bench, &third).await, JobError::Withdrawn));
    bench.ward.hosts().register(bench.harbour.clone()).expect("room");
    // Its issuer is no more.
    let (trail, mut closer) = bench.trail();
    let _operator = bench.danger::<AdmitPatients>(&trail, &bench.harbour);
    bench.ward.identity().danger_set_disabled(&trail, &bench.harbour, doctor.id, true).await.expect("disabled");
    closer.finish(End::Completed);
    assert!(matches!(refused::<Remind>(&bench, &third).await, JobError::Withdrawn));
}

#[tokio::test]
async fn an_envelope_of_the_clinic_reaches_its_own_people_and_no_other_clinics() {
    let bench = Bench::new().await;
    let mine = bench.patient(&bench.harbour, "Ada", "a cough").await;
    let theirs = bench.patient(&bench.meadow, "Max", CANARY).await;
    let envelope = bench.jobs().danger_issue_for_clinic::<Remind>(bench.harbour.clone(), HOUR).expect("issued");
    let work = async |job: JobGrant<Remind>| {
        assert_eq!(job.tenant(), &bench.harbour);
        (job.subject(mine).await.is_ok(), matches!(job.subject(theirs).await, Err(DoorError::NotFound)))
    };
    assert_eq!(bench.jobs().run::<Remind, _, _, _>(&envelope, work).await.expect("ran"), (true, true));
    let north = TenantId::new("northgate").expect("a tenant id");
    let nowhere = bench.jobs().danger_issue_for_clinic::<Remind>(north, HOUR).expect("issued");
    assert!(matches!(refused::<Remind>(&bench, &nowhere).await, JobError::Withdrawn));
}

/// A store that has room for everything but one more used envelope.
#[derive(Debug)]
struct NoRoomForJobs(Arc<dyn Durable>);

impl Durable for NoRoomForJobs {
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.0.get(name)
    }

    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        if name.as_str().contains(":job:") {
            return Box::pin(async { Err(StoreError::Full) });
        }
        self.0.insert_new(name, value, expires)
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.0.compare_and_swap(name, version, value, expires)
    }

    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.0.remove(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        self.0.list(prefix, after, limit)
    }

    fn written_since(&self, version: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>> {
        self.0.written_since(version, limit)
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.0.newest_version()
    }

    fn take_over<'a>(
        &'a self,
        mark: (&'a ObjectName, Option<u64>, &'a [u8]),
        entries: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.0.take_over(mark, entries)
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.scrub()
    }
}

#[tokio::test]
async fn an_envelope_that_cannot_be_remembered_is_not_run() {
    let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().expect("a time"));
    let store: Arc<dyn Durable> = Arc::new(MemoryStore::new(NonZeroUsize::MAX).danger_forgetful());
    let dir = tempfile::tempdir().expect("a folder");
    let store = Arc::new(NoRoomForJobs(store));
    let bench = Bench::open(dir, store, clock, &RootKey::generate(), Setup::default()).await;
    let envelope = bench.jobs().danger_issue_for_clinic::<Remind>(bench.harbour.clone(), HOUR).expect("issued");
    let error = refused::<Remind>(&bench, &envelope).await;
    assert!(matches!(error, JobError::Store(StoreError::Full)), "{error:?}");
}

/// A store in which time passes: each read takes so long.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn Durable>,
    clock: ManualClock,
    read: Mutex<Duration>,
}

impl Durable for Slow {
    fn get<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.clock.advance(*self.read.lock().unwrap());
        self.inner.get(name)
    }

    fn insert_new<'a>(
        &'a self,
        name: &'a ObjectName,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.insert_new(name, value, expires)
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a ObjectName,
        version: u64,
        value: &'a [u8],
        expires: Option<Timestamp>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.compare_and_swap(name, version, value, expires)
    }

    fn remove<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.remove(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        self.clock.advance(*self.read.lock().unwrap());
        self.inner.list(prefix, after, limit)
    }

    fn written_since(&self, version: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(ObjectName, Entry)>, StoreError>> {
        self.inner.written_since(version, limit)
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.newest_version()
    }

    fn take_over<'a>(
        &'a self,
        mark: (&'a ObjectName, Option<u64>, &'a [u8]),
        entries: &'a [(ObjectName, Vec<u8>)],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.take_over(mark, entries)
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.scrub()
    }
}

/// A bench whose store is slow once it is told to be, and an envelope of which a millisecond is left.
async fn at_the_edge() -> (Bench, Arc<Slow>, String) {
    let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().expect("a time"));
    let inner: Arc<dyn Durable> =
        Arc::new(MemoryStore::new(NonZeroUsize::MAX).with_clock(clock.shared()).danger_forgetful());
    let store = Arc::new(Slow { inner, clock: clock.clone(), read: Mutex::default() });
    let dir = tempfile::tempdir().expect("a folder");
    let bench = Bench::open(dir, store.clone(), clock, &RootKey::generate(), Setup::default()).await;
    // A token lives ten minutes.
    let life = Duration::from_secs(60);
    let owner = bench.user(&bench.harbour, "owner").await;
    let envelope = issued::<Audit, KeepStaff>(&bench, &owner, None, life).await.expect("issued");
    bench.clock.advance(life - Duration::from_millis(1));
    (bench, store, envelope)
}

/// The issuer's account is read between the look at the clock and the mark that the envelope was used.
#[tokio::test]
async fn a_used_envelope_does_not_run_again_across_the_edge_of_its_life() {
    let (bench, store, used) = at_the_edge().await;
    run::<Audit>(&bench, &used).await.expect("a millisecond is left");
    *store.read.lock().unwrap() = Duration::from_millis(1);
    let error = refused::<Audit>(&bench, &used).await;
    assert!(matches!(error, JobError::Used), "{error:?}");
}

#[tokio::test]
async fn an_envelope_that_expires_while_its_issuer_is_looked_up_does_not_run() {
    let (bench, store, unused) = at_the_edge().await;
    *store.read.lock().unwrap() = Duration::from_millis(1);
    let error = refused::<Audit>(&bench, &unused).await;
    assert!(matches!(error, JobError::Expired), "{error:?}");
}
