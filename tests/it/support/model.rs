//! What the test clinic keeps, and who may ask for it.

use axum::{extract::State, http::StatusCode};
use sqlx::{QueryBuilder, migrate::Migrator};
use tower_ward::{
    access::{Changes, CohortQuery, Grant, Opens, Scope, SubjectGrant, Task},
    axum::{Json, Path},
    clock::{SharedClock, Timestamp},
    db::{Change, Db, Schema, filter},
    field::{BlindIndex, Encrypted},
    id::{RowId, SubjectId},
    problem::Problem,
};

tower_ward::classes! { pub(crate) Clinical = "clinical"; pub(crate) Schedule = "schedule"; pub(crate) Payroll = "payroll"; }
tower_ward::permissions! {
    pub(crate) ReadNotes = "notes.read" opens Clinical;
    pub(crate) WriteNotes = "notes.write" changes Clinical;
    pub(crate) ListPatients = "patients.list" opens Schedule;
    pub(crate) AdmitPatients = "patients.admit" changes Schedule;
    pub(crate) KeepStaff = "staff.keep" changes Payroll;
    pub(crate) ErasePatients = "patients.erase" changes;
}
tower_ward::columns! {
    pub(crate) PatientName: String = "patients"."name" as Schedule, indexed;
    pub(crate) NoteText: String = "notes"."text" as Clinical;
    pub(crate) Salary: String = "staff"."salary" as Payroll;
}

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("tests/it/support/migrations");
pub(crate) const SCHEMA: Schema = Schema::new(&MIGRATIONS, &[COLUMNS])
    .with_people(&[("patients", "id"), ("patient_words", "patient"), ("notes", "patient")])
    .with_indexes(&[("patient_words", "word")]);

pub(crate) const POLICY: &str = r#"
    [roles.owner]
    ceiling = ["clinical", "schedule", "payroll"]
    grants."notes.read" = "clinic"
    grants."notes.write" = "clinic"
    grants."patients.list" = "clinic"
    grants."patients.admit" = "clinic"
    grants."staff.keep" = "clinic"

    [roles.receptionist]
    ceiling = ["schedule"]
    grants."patients.list" = "clinic"
    grants."patients.admit" = "clinic"

    # May admit and read the staff of nobody in particular: the doors that lead to no person must refuse them.
    [roles.doctor]
    ceiling = ["clinical", "schedule", "payroll"]
    grants."notes.read" = "assigned"
    grants."notes.write" = "assigned"
    grants."patients.list" = "assigned"
    grants."patients.admit" = "assigned"
    grants."staff.keep" = "assigned"

    [roles.patient]
    ceiling = ["clinical", "schedule", "payroll"]
    grants."notes.read" = "own"
    grants."patients.list" = "own"
    grants."patients.admit" = "own"
    grants."staff.keep" = "own"

    [roles.family]
    ceiling = ["clinical"]
    grants."notes.read" = "circle"

    [roles.every_relation]
    ceiling = ["clinical", "schedule"]
    grants."notes.read" = ["own", "assigned", "circle"]
    grants."patients.list" = ["own", "assigned", "circle"]
    grants."patients.admit" = ["own", "assigned", "circle"]

    [roles.intern]
"#;

/// The state of the handlers.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) db: Db,
    pub(crate) clock: SharedClock,
}

macro_rules! tasks {
    ($($name:ident: $permission:ty = $id:literal;)+) => { $(
        #[derive(Debug)]
        pub(crate) enum $name {}
        impl Task for $name {
            type Permission = $permission;
            const ID: &'static str = $id;
        }
    )+ };
}

tasks! {
    Remind: ReadNotes = "remind";
    // The same permission, another task.
    Digest: ReadNotes = "digest";
    Letters: WriteNotes = "letters";
    Audit: KeepStaff = "audit";
    // One that the builder is never told of.
    Undeclared: ReadNotes = "undeclared";
}

pub(crate) fn row_of(subject: SubjectId) -> RowId {
    RowId::from_bytes(*subject.as_bytes())
}

/// Seals and inserts a patient.
pub(crate) async fn insert_patient<P: Opens<Schedule> + Changes>(
    db: &Db,
    chart: &SubjectGrant<P>,
    name: &str,
) -> Result<(), Problem> {
    let row = row_of(chart.subject());
    let mut tx = db.change(chart, Change::create("patients", row)).await?;
    sqlx::query("insert into patients (id, name) values (?, ?)")
        .bind(chart.subject())
        .bind(Encrypted::<PatientName>::seal(&name.to_owned(), chart, row)?)
        .execute(tx.conn())
        .await
        .map_err(|_| Problem::internal())?;
    sqlx::query("insert into patient_words (patient, word) values (?, ?)")
        .bind(chart.subject())
        .bind(BlindIndex::<PatientName>::of(&name.to_owned(), chart).map_err(|_| Problem::internal())?)
        .execute(tx.conn())
        .await
        .map_err(|_| Problem::internal())?;
    Ok(tx.commit().await?)
}

/// Seals and inserts a note.
pub(crate) async fn insert_note<P: Opens<Clinical> + Changes>(
    db: &Db,
    chart: &SubjectGrant<P>,
    row: RowId,
    text: &str,
) -> Result<(), Problem> {
    let mut tx = db.change(chart, Change::create("notes", row)).await?;
    sqlx::query("insert into notes (id, patient, text) values (?, ?, ?)")
        .bind(row)
        .bind(chart.subject())
        .bind(Encrypted::<NoteText>::seal(&text.to_owned(), chart, row)?)
        .execute(tx.conn())
        .await
        .map_err(|_| Problem::internal())?;
    Ok(tx.commit().await?)
}

/// Reads and opens the notes of one person.
pub(crate) async fn notes_of<P: Opens<Clinical>>(db: &Db, chart: &SubjectGrant<P>) -> Result<Vec<String>, Problem> {
    let mut tx = db.read(chart).await?;
    let rows: Vec<(RowId, Encrypted<NoteText>)> =
        sqlx::query_as("select id, text from notes where patient = ? order by id")
            .bind(chart.subject())
            .fetch_all(tx.conn())
            .await
            .map_err(|_| Problem::internal())?;
    rows.iter().map(|(row, text)| Ok(text.open(chart, *row)?.disclose())).collect()
}

pub(crate) async fn read_notes(
    grant: Grant<ReadNotes>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
) -> Result<Json<Vec<String>>, Problem> {
    let chart = grant.subject(patient).await?;
    Ok(Json(notes_of(&app.db, &chart).await?))
}

pub(crate) async fn write_note(
    grant: Grant<WriteNotes>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(text): Json<String>,
) -> Result<StatusCode, Problem> {
    let chart = grant.subject(patient).await?;
    insert_note(&app.db, &chart, RowId::generate(&*app.clock), &text).await?;
    Ok(StatusCode::CREATED)
}

/// Everybody whom the scope reaches.
#[derive(Debug)]
pub(crate) struct Patients {
    pub(crate) db: Db,
    pub(crate) now: Timestamp,
}

impl CohortQuery<ListPatients> for Patients {
    type Row = (SubjectId, Encrypted<PatientName>);

    fn subject(row: &Self::Row) -> SubjectId {
        row.0
    }

    async fn rows(
        self,
        scope: &Scope<ListPatients>,
    ) -> Result<Vec<Self::Row>, Box<dyn std::error::Error + Send + Sync>> {
        let mut query = QueryBuilder::new("select p.id, p.name from patients p where ");
        filter(&mut query, scope, "p.id", self.now);
        query.push(" order by p.id");
        let mut tx = self.db.read(scope).await?;
        Ok(query.build_query_as().fetch_all(tx.conn()).await?)
    }
}

pub(crate) async fn list_patients(
    grant: Grant<ListPatients>,
    State(app): State<App>,
) -> Result<Json<Vec<String>>, Problem> {
    let cohort = grant.cohort(Patients { db: app.db.clone(), now: app.clock.now() }).await?;
    cohort
        .iter()
        .map(|((id, name), chart)| Ok(name.open(chart, row_of(*id))?.disclose()))
        .collect::<Result<Vec<_>, Problem>>()
        .map(Json)
}

pub(crate) async fn admit_patient(
    grant: Grant<AdmitPatients>,
    State(app): State<App>,
    Json(name): Json<String>,
) -> Result<Json<SubjectId>, Problem> {
    let chart = grant.admit().await?;
    insert_patient(&app.db, &chart, &name).await?;
    Ok(Json(chart.subject()))
}

pub(crate) async fn read_staff(grant: Grant<KeepStaff>, State(app): State<App>) -> Result<Json<usize>, Problem> {
    let clinic = grant.clinic().await?;
    let mut tx = app.db.read(&clinic).await?;
    let rows: Vec<(RowId, Encrypted<Salary>)> =
        sqlx::query_as("select id, salary from staff").fetch_all(tx.conn()).await.map_err(|_| Problem::internal())?;
    for (row, salary) in &rows {
        let _ = salary.open(&clinic, *row)?.disclose();
    }
    Ok(Json(rows.len()))
}
