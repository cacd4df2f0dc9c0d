//! The canary walk: every type that holds a secret or something of a person, made with a canary in it, and everything
//! that comes out of it by `Debug`, `Display`, `Serialize`, the sources of errors, and `tracing`.
//!
//! `architecture::secrets` finds the types in the source; one that is new has to be shown here, or by a test that is
//! named here.

use std::{
    collections::BTreeSet,
    error::Error,
    fmt::Debug,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::StatusCode;
use tower_ward::{
    access::{DoorError, Grant, JobGrant, RelationError, Relations},
    audit::{CheckpointSigner, End, Event, Purpose, VerifierKey},
    axum::Path,
    clock::Clock,
    db::{Change, RotationLog},
    field::{BlindIndex, Encrypted, Json, Side, Told},
    id::{RowId, SubjectId},
    identity::{NewAccount, PasswordHashing, generate_password},
    keys::{KeySource, RootKey},
    problem::Problem,
    secret::{ExposeSecret, Secret, SecretString},
    stack::{ConnInfo, Visit, Ward},
    store::ObjectName,
    testing::Canaries,
};

use crate::{
    architecture::secrets::{HOLDERS, OTHERS, Prints},
    support::{
        Bench, CANARY, get,
        model::{
            AdmitPatients, KeepStaff, ListPatients, PatientName, Patients, ReadNotes, Remind, WriteNotes, insert_note,
            row_of,
        },
        peer, post,
    },
};

tower_ward::columns! { Number: String = "patients"."number" as crate::support::model::Clinical, indexed; }

/// Types that no user of the crate can print, or none without a server, and the test that does.
const INSIDE: &[(&str, &str)] = &[
    ("AwsKmsProvider", "no_key_and_no_credential_comes_out"),
    ("Encoder", "a_canary_is_in_no_output_of_any_type"),
    ("Lockout", "passwords_and_tokens_are_in_no_output"),
    ("Pkcs11Provider", "the_pin_and_the_key_are_in_no_output"),
    ("Plaintext", "a_canary_is_in_no_output_of_any_type"),
    ("Pool", "passwords_and_tokens_are_in_no_output"),
    ("PostgresRelations", "nothing_of_the_shared_database_is_printed_that_it_holds"),
    ("PostgresTx", "nothing_of_the_shared_database_is_printed_that_it_holds"),
    ("Signer", "nothing_of_the_shared_database_is_printed_that_it_holds"),
    ("TransitOptions", "transit_settings_that_cannot_be_right_are_refused_before_anybody_is_asked"),
    ("TransitProvider", "transit_wraps_unwraps_and_says_which_key_it_is"),
    ("Warm", "passwords_and_tokens_are_in_no_output"),
];

const PASSWORD: &str = "canary-password-of-the-walk-77d1";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What came out, under the name of the type it came out of.
#[derive(Default)]
struct Walk {
    out: Vec<(&'static str, String)>,
    errors: usize,
}

impl Walk {
    fn debug(&mut self, name: &'static str, value: &impl Debug) {
        self.out.push((name, format!("{value:?} {value:#?}")));
    }

    fn text(&mut self, name: &'static str, text: String) {
        self.out.push((name, text));
    }

    /// An error and whatever is behind it.
    fn error(&mut self, name: &'static str, error: &dyn Error) {
        let mut text = format!("{error:?} {error:#?}");
        let mut next = Some(error);
        while let Some(error) = next {
            text += &format!(" {error} {error:?}");
            next = error.source();
        }
        self.errors += 1;
        self.out.push((name, text));
    }
}

// proves CLM-04, CCA-10, MED-08
#[tokio::test]
async fn no_canary_comes_out_of_any_type() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For every thread of this process; another test's events are held to the same.
    let _ = tracing_subscriber::util::SubscriberInitExt::try_init(subscriber);

    let bench = Bench::new().await;
    let harbour = &bench.harbour;
    let patient = bench.patient(harbour, CANARY, CANARY).await;
    let doctor = bench.user(harbour, "doctor").await;
    let owner = bench.user_who_is(harbour, "owner", Some(patient)).await;
    bench.relate(harbour, &doctor, patient, Relations::ASSIGNED, None).await;
    let mut walk = Walk::default();
    let mut secrets: Vec<Vec<u8>> = vec![CANARY.into(), PASSWORD.into()];

    // Secrets as such, and keys.
    walk.debug("Secret", &Secret::new(Box::new(CANARY.to_owned())));
    walk.debug("SecretString", &SecretString::from(CANARY));
    walk.debug("SecretString", &generate_password());
    let root = RootKey::generate();
    let text = root.encode();
    let body = text.expose_secret().rsplit(':').next().unwrap().to_owned();
    secrets.push(data_encoding::BASE64URL_NOPAD.decode(body.as_bytes()).unwrap());
    walk.debug("RootKey", &root);
    walk.text("RootKey", root.fingerprint().to_string());
    for wrong in [format!("{}x", text.expose_secret()), body.clone(), text.expose_secret().replace("v1", "v2")] {
        walk.error("KeySourceError", &RootKey::decode(&wrong, "the walk").unwrap_err());
        walk.error("KeySourceError", &wrong.parse::<KeySource>().unwrap_err());
    }
    walk.error("KeySourceError", &format!("env:{}", text.expose_secret()).parse::<KeySource>().unwrap_err());
    let signer = CheckpointSigner::generate("walk.example/ledger").unwrap();
    let private = signer.encode();
    let seed = private.expose_secret().splitn(5, '+').nth(4).unwrap();
    secrets.push(data_encoding::BASE64.decode(seed.as_bytes()).unwrap()[1..].to_vec());
    walk.debug("CheckpointSigner", &signer);
    walk.error("CheckpointKeyError", &private.expose_secret().parse::<VerifierKey>().unwrap_err());
    for wrong in [format!("{}x", private.expose_secret()), private.expose_secret().replace("walk", "else")] {
        walk.error("CheckpointKeyError", &CheckpointSigner::decode(&wrong.into()).unwrap_err());
    }
    let (subject_key, tenant_key) =
        (bench.keyring.subject(harbour, patient).await.unwrap(), bench.keyring.tenant(harbour).await.unwrap());
    walk.debug("SubjectKey", &subject_key);
    walk.debug("TenantKey", &tenant_key);
    walk.debug("Keyring", &bench.keyring);
    walk.debug("RotationLog", &RotationLog::new(&bench.keyring, Arc::clone(&bench.store), bench.shared_clock()));
    walk.error("KeyError", &bench.keyring.subject(harbour, SubjectId::from_bytes([9; 16])).await.unwrap_err());
    let name = ObjectName::tenant(harbour, "keys", "walk").unwrap();
    bench.store.insert_new(&name, CANARY.as_bytes(), None).await.unwrap();
    walk.debug("Entry", &bench.store.get(&name).await.unwrap().unwrap());
    walk.debug("MemoryStore", &bench.store);

    // Who somebody is.
    let identity = bench.ward.identity();
    walk.debug("NewAccount", &NewAccount::new("walker", PASSWORD.into(), "owner").with_subject(patient));
    walk.debug("PasswordHashing", &PasswordHashing::default());
    {
        let (trail, mut closer) = bench.trail();
        let _operator = bench.danger::<AdmitPatients>(&trail, harbour);
        let short = NewAccount::new("walker", "canary-short".into(), "owner");
        walk.error("AccountError", &identity.danger_create_account(&trail, harbour, short).await.unwrap_err());
        let account = NewAccount::new("walker", PASSWORD.into(), "owner");
        identity.danger_create_account(&trail, harbour, account).await.unwrap();
        walk.debug("Account", &identity.danger_accounts(harbour, None, 10).await.unwrap());
        closer.finish(End::Completed);
        let (trail, mut closer) = bench.trail();
        let tokens = identity.login(&trail, harbour, "walker", PASSWORD.into()).await.unwrap();
        walk.debug("Tokens", &tokens);
        walk.debug("Principal", tokens.principal());
        walk.error("LoginError", &identity.login(&trail, harbour, "walker", CANARY.into()).await.unwrap_err());
        walk.error("RefreshError", &identity.refresh(&trail, harbour, CANARY).await.unwrap_err());
        for wrong in [CANARY.to_owned(), format!("{}x", tokens.access_token().expose_secret())] {
            walk.error("TokenError", &identity.verify(&wrong).unwrap_err());
        }
        for token in [tokens.access_token(), tokens.refresh_token()] {
            let secret = token.expose_secret().rsplit('.').next().unwrap().as_bytes().to_vec();
            secrets.push(secret);
        }
        closer.finish(End::Completed);
    }
    walk.debug("Identity", identity);

    // Doors and what they open.
    {
        let (trail, mut closer) = bench.trail();
        let read = bench.danger::<ReadNotes>(&trail, harbour);
        walk.debug("Grant", &read);
        walk.error("DoorError", &read.subject(SubjectId::from_bytes([9; 16])).await.unwrap_err());
        let chart = read.subject(patient).await.unwrap();
        walk.debug("SubjectGrant", &chart);
        let note =
            Encrypted::<crate::support::model::NoteText>::seal(&CANARY.to_owned(), &chart, row_of(patient)).unwrap();
        walk.debug("Encrypted", &note);
        walk.text("Encrypted", serde_json::to_string(&note).unwrap());
        walk.debug("Phi", &note.open(&chart, row_of(patient)).unwrap());
        walk.error("OpenError", &note.open(&chart, RowId::from_bytes([9; 16])).unwrap_err());
        let long = CANARY.repeat(1 << 16);
        let seal = Encrypted::<crate::support::model::NoteText>::seal(&long, &chart, row_of(patient));
        walk.error("SealError", &seal.unwrap_err());
        walk.debug("BlindIndex", &BlindIndex::<Number>::of(&CANARY.to_owned(), &chart).unwrap());
        walk.error("IndexError", &BlindIndex::<Number>::of(&long, &chart).unwrap_err());
        walk.debug("Json", &Json::new(vec![CANARY.to_owned()]));
        walk.debug("Timeline", &chart.timeline(None, 10).await.unwrap());
        let list = bench.danger::<ListPatients>(&trail, harbour);
        let cohort = list.cohort(Patients { db: bench.db.clone(), now: bench.clock.now() }).await.unwrap();
        assert_eq!(cohort.iter().count(), 1);
        walk.debug("Cohort", &cohort);
        let broken = list.cohort(Failing).await.unwrap_err();
        let scope = format!("{broken:?}");
        assert!(scope.contains("Scope {"), "{scope}");
        walk.text("Scope", scope);
        walk.text("DoorError", broken.to_string());
        walk.debug("Problem", &Problem::from(broken));
        let clinic = bench.danger::<KeepStaff>(&trail, harbour).clinic().await.unwrap();
        walk.debug("ClinicGrant", &clinic);

        // Transactions, and the database's own errors.
        let write = bench.danger::<WriteNotes>(&trail, harbour).subject(patient).await.unwrap();
        let mut tx = bench.db.change(&write, Change::create("notes", row_of(patient))).await.unwrap();
        for sql in ["insert into notes (id, patient, author, text) values (?, ?, ?, ?)", "select ? from nowhere"] {
            let query = sqlx::query(sql).bind(patient).bind(patient).bind(CANARY).bind(CANARY);
            if let Err(error) = query.execute(tx.conn()).await {
                walk.error("sqlx::Error", &error);
            }
        }
        walk.debug("TenantTx", &tx);
        drop(tx);
        walk.debug("ReadTx", &bench.db.read(&write).await.unwrap());
        insert_note(&bench.db, &write, RowId::from_bytes([5; 16]), CANARY).await.unwrap();
        let twice = insert_note(&bench.db, &write, RowId::from_bytes([5; 16]), CANARY).await.unwrap_err();
        walk.debug("Problem", &twice);
        let said = chart.timeline(None, 10).await.unwrap().records;
        let said = said.iter().rfind(|record| !record.changes().is_empty()).unwrap();
        let diff = chart.open_diff(said).unwrap();
        let edit = diff.get::<crate::support::model::NoteText>().unwrap();
        assert!(matches!(edit.after, Told::Value(_)), "the walk looks at a value that is there");
        walk.debug("RowDiff", &diff);
        walk.debug("Told", &edit.after);
        walk.debug("Edit", &edit);
        walk.debug("CommitmentKey", &diff.commitment_key::<crate::support::model::NoteText>(Side::After));
        walk.error("DiffError", &chart.open_diff(&bench.records().await[0]).unwrap_err());
        walk.debug("Trail", &trail);
        walk.debug("Closer", &closer);
        let event = Event::new(tower_ward::audit::Action::Read).add_subject(patient);
        walk.debug("Event", &event);
        walk.debug("Purpose", &Purpose::new("treatment"));
        walk.error("PurposeError", &Purpose::new(&format!("{CANARY}\n")).unwrap_err());
        closer.finish(End::Completed);
        walk.error("DoorError", &read.subject(patient).await.unwrap_err());
    }
    walk.debug("SqliteRelations", &bench.relations);
    walk.debug("Db", &bench.db);

    // Jobs.
    let jobs = bench.jobs();
    walk.debug("Jobs", jobs);
    let envelope = jobs.danger_issue_for_clinic::<Remind>(harbour.clone(), Duration::from_secs(60)).unwrap();
    let shown = jobs
        .run::<Remind, _, _, _>(&envelope, |grant: JobGrant<Remind>| async move { format!("{grant:?} {grant:#?}") });
    walk.text("JobGrant", shown.await.unwrap());
    walk.error("JobError", &jobs.run::<Remind, _, _, _>(CANARY, |_| async {}).await.unwrap_err());
    secrets.push(envelope.rsplit('.').next().unwrap().as_bytes().to_vec());

    // The whole path, while it serves.
    walk.debug("Ward", &bench.ward);
    walk.debug("Parts", &Ward::builder().with_job_store(Arc::clone(&bench.store)).keys(bench.keyring.clone()));
    walk.debug("Peer", &tower_ward::rate_limit::Peer::new(peer().peer().ip()));
    walk.debug("Connection", &tower_ward::rate_limit::Connection(peer().peer()));
    walk.debug("ConnInfo", &ConnInfo::new(peer().peer(), None));
    let kept: Arc<Mutex<Vec<String>>> = Arc::default();
    let out = Arc::clone(&kept);
    let service = bench.serve(move |router| {
        router.get(
            "/walk/{id}",
            move |grant: Grant<ReadNotes>, Path(id): Path<SubjectId>, visit: Option<axum::Extension<Visit>>| {
                let out = Arc::clone(&out);
                async move {
                    let chart = grant.subject(id).await?;
                    out.lock().unwrap().push(format!("{grant:?} {chart:#?} {visit:?}"));
                    Ok::<_, Problem>(StatusCode::NO_CONTENT)
                }
            },
        )
    });
    assert_eq!(get(&service, &owner, &format!("/walk/{patient}")).await.status, 204);
    assert_eq!(get(&service, &doctor, &format!("/patients/{patient}/notes")).await.status, 200);
    let path = format!("/patients/{patient}/notes");
    for body in [format!("{{\"{CANARY}\": 1}}"), format!("[\"{CANARY}\", 7]"), format!("\"{CANARY}")] {
        let refused = post(&service, &doctor, &path, &body).await;
        assert_eq!(refused.status, 400);
        walk.text("Problem", format!("{refused:?}"));
    }
    let unknown = get(&service, &doctor, &format!("/{CANARY}?{CANARY}={CANARY}")).await;
    walk.text("Problem", format!("{unknown:?}"));
    bench.break_relations(true);
    let failed = get(&service, &doctor, &path).await;
    assert!(failed.status >= 500);
    walk.text("Problem", format!("{failed:?}"));
    bench.break_relations(false);
    walk.text("Visit", kept.lock().unwrap().concat());
    walk.debug("WardService", &service);
    for record in bench.records().await {
        walk.debug("Record", &record);
        walk.text("Record", String::from_utf8(record.to_bytes()).unwrap());
    }

    // The list is whole.
    let walked: BTreeSet<&str> = walk.out.iter().map(|(name, _)| *name).collect();
    let inside: BTreeSet<&str> = INSIDE.iter().map(|(name, _)| *name).collect();
    let tests = crate::threats::tests();
    for (_, test) in INSIDE {
        assert!(tests.contains(*test), "there is no test `{test}`");
    }
    // Printed within others: `Jobs` prints `Doors` and its own `Inner`, `TenantTx` the other two.
    let within = BTreeSet::from(["Doors", "Inner", "Owner", "Touched"]);
    for (file, name, prints) in HOLDERS.iter().chain(OTHERS) {
        let shown = walked.contains(name) || inside.contains(name) || within.contains(name);
        assert!(*prints == Prints::Nothing || shown, "{name} of {file} is not shown");
    }

    // And nothing is in it.
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("not_authentic"), "the log is read at all: {logged}");
    walk.text("the log", logged);
    assert!(secrets.iter().all(|secret| secret.len() >= 12), "found by chance");
    let canaries = Canaries::new(&secrets).unwrap();
    // What would be found.
    for said in [format!("{PASSWORD:?}"), format!("{:?}", PASSWORD.as_bytes()), hex::encode(PASSWORD)] {
        assert!(canaries.found_in(said.as_bytes()).is_some(), "{said}");
    }
    for (name, text) in &walk.out {
        assert!(!text.is_empty() && canaries.found_in(text.as_bytes()).is_none(), "{name}: {text}");
    }
    println!(
        "canary walk: {} types, {} outputs, {} errors, {} secrets",
        walked.len(),
        walk.out.len(),
        walk.errors,
        secrets.len()
    );
}

/// A query that fails with what the application says, scope and all.
struct Failing;

impl tower_ward::access::CohortQuery<ListPatients> for Failing {
    type Row = (SubjectId, Encrypted<PatientName>);

    fn subject(row: &Self::Row) -> SubjectId {
        row.0
    }

    async fn rows(
        self,
        scope: &tower_ward::access::Scope<ListPatients>,
    ) -> Result<Vec<Self::Row>, Box<dyn Error + Send + Sync>> {
        Err(format!("{scope:?}").into())
    }
}

/// The cause of a relation's failure is the application's, kept for operators; what a client gets is not it.
#[test]
fn what_an_application_gives_as_a_cause_is_not_in_the_answer() {
    let error = DoorError::from(RelationError::new(CANARY));
    assert!(!error.to_string().contains(CANARY));
    let problem = Problem::from(error);
    assert!(!format!("{problem:?} {problem:#?}").contains(CANARY));
    let response: http::Response<bytes::Bytes> = problem.into_response();
    assert!(!format!("{response:?}").contains(CANARY));
}
