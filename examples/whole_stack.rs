//! The whole path with relations: two clinics, a doctor who treats a patient and one who does not, and what each of them
//! gets at the right and at the wrong host.
//!
//! `cargo run --example whole_stack --features axum,sqlite`

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc};

use axum::{body::Body, extract::State};
use http::{Request, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use tower_ward::{
    access::{Grant, ManagesAccounts, Policy, Relations, danger_grant},
    audit::{End, Ledger, LedgerOptions, RequestFacts, verify},
    axum::{Json, Path, Router},
    clock::SystemClock,
    db::{Change, Db, Schema, SqliteRelations},
    field::Encrypted,
    id::{RowId, SubjectId, TenantId, UserId},
    identity::{Identity, IdentityOptions, NewAccount, generate_password},
    keys::{Keyring, RootKey},
    problem::Problem,
    secret::ExposeSecret as _,
    stack::{ConnInfo, Ward},
    store::{Durable, MemoryStore},
    tenant::Hosts,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

tower_ward::classes! { Clinical = "clinical"; }
tower_ward::permissions! {
    ReadNotes = "notes.read" opens Clinical;
    // Asked for by no route: for what happens before the first request.
    LayOut = "layout.write" changes Clinical;
}
tower_ward::columns! { NoteText: String = "notes"."text" as Clinical; }
impl ManagesAccounts for LayOut {}

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./examples/first_steps/migrations");
const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS]).with_people(&[("notes", "patient")]);
const POLICY: &str = r#"
    [roles.doctor]
    ceiling = ["clinical"]
    grants."notes.read" = "assigned"
"#;

async fn read_notes(
    grant: Grant<ReadNotes>,
    Path(patient): Path<SubjectId>,
    State(db): State<Db>,
) -> Result<Json<Vec<String>>, Problem> {
    let chart = grant.subject(patient).await?;
    let mut tx = db.read(&chart).await?;
    let rows: Vec<(RowId, Encrypted<NoteText>)> = sqlx::query_as("select id, text from notes where patient = ?")
        .bind(patient)
        .fetch_all(tx.conn())
        .await
        .map_err(|_| Problem::internal())?;
    rows.iter().map(|(row, text)| Ok(text.open(&chart, *row)?.disclose())).collect::<Result<_, Problem>>().map(Json)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (folder, clock) = (tempfile::tempdir()?, SystemClock::shared());
    let options = LedgerOptions::new().with_segment_size(1 << 20);
    let ledger = Ledger::open(&folder.path().join("ledger"), options, clock.clone())?;
    // A server takes `SqliteStore::open(path).await?` and a key that `RootKey::load` read.
    let store: Arc<dyn Durable> =
        Arc::new(MemoryStore::new(NonZeroUsize::new(1_000).ok_or("zero")?).danger_forgetful());
    let keyring = Keyring::open(RootKey::generate(), store.clone()).await?;
    let options = IdentityOptions::new("https://clinic.example");
    let identity = Identity::open(store, &keyring, clock.clone(), options).await?;
    let db = Db::open(folder.path().join("clinics"), SCHEMA)?;
    db.settle(&ledger).await?;
    let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example")?;
    let (harbour, meadow) = (TenantId::new("harbour")?, TenantId::new("meadow")?);
    for clinic in [&harbour, &meadow] {
        keyring.create_tenant(clinic).await?;
        db.create(clinic).await?;
        hosts.register(clinic.clone())?;
    }
    let relations = SqliteRelations::new(db.clone(), keyring.clone(), clock.clone());
    let builder = Ward::builder().keys(keyring.clone()).audit(ledger.clone()).authenticate(identity.clone());
    let ward = builder.tenants(hosts).policy(Policy::from_toml(POLICY)?).relations(relations).build()?;
    let router = Router::new(&ward).get("/patients/{id}/notes", read_notes);
    let service = router.with_state(db.clone()).into_service()?;

    // The operator lays out two doctors of one clinic, and a patient whom the first of them treats.
    let (trail, mut closer) = ledger.begin(RequestFacts::new());
    let operator = UserId::generate(&*clock);
    let grant = danger_grant::<LayOut>(&trail, &keyring, &clock, operator, harbour.clone(), "the example's people")?;
    let clinic = grant.clinic().await?;
    let mut doctors = Vec::new();
    for name in ["dr.adeyemi", "dr.brandt"] {
        let password = generate_password();
        let user = clinic.accounts(&identity).create(NewAccount::new(name, password.clone(), "doctor")).await?;
        let (trail, _closer) = ledger.begin(RequestFacts::new());
        doctors.push((user, identity.login(&trail, &harbour, name, password).await?));
    }
    let (chart, row) = (grant.admit().await?, RowId::generate(&*clock));
    let mut tx = db.change(&chart, Change::create("notes", row)).await?;
    let text = Encrypted::<NoteText>::seal(&"sleeps well".to_owned(), &chart, row)?;
    let insert = sqlx::query("insert into notes (id, patient, text) values (?, ?, ?)").bind(row).bind(chart.subject());
    insert.bind(text).execute(tx.conn()).await?;
    tx.commit().await?;
    let mut tx = db.change(&chart, Change::assign(doctors[0].0, Relations::ASSIGNED)).await?;
    tx.relate(None).await?;
    tx.commit().await?;
    let patient = chart.subject();
    closer.finish(End::Completed);

    let stranger = SubjectId::generate(&*clock);
    for (what, doctor, host, patient, expected) in [
        ("the doctor who treats the patient", 0, "harbour", patient, 200),
        ("a doctor who does not", 1, "harbour", patient, 404),
        ("a patient who is not there", 0, "harbour", stranger, 404),
        ("another clinic's host", 0, "meadow", patient, 403),
        ("a host of nobody's", 0, "valley", patient, 421),
    ] {
        let token = doctors[doctor].1.access_token().expose_secret();
        let request = Request::get(format!("/patients/{patient}/notes"))
            .header(header::HOST, format!("{host}.clinic.example"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .extension(ConnInfo::new(SocketAddr::from(([192, 0, 2, 1], 4711)), None))
            .body(Body::empty())?;
        let (head, body) = service.clone().oneshot(request).await?.into_parts();
        let body = body.collect().await.map_err(|_| "the answer broke off")?.to_bytes();
        println!("{what:34} {} {}", head.status, String::from_utf8_lossy(&body));
        assert_eq!(head.status, expected, "{what}");
        assert_eq!(body == br#"["sleeps well"]"#[..], expected == 200, "{what}");
    }
    ledger.shutdown().await;
    println!("{} records, and none of them edited", verify(&folder.path().join("ledger"))?.records());
    Ok(())
}
