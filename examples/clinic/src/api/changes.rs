//! What was changed in somebody's data, before and after, from the ledger: to who may open what it was.

use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tower_ward::{
    access::{Grant, Opens, Permission, SubjectGrant},
    audit::{Kind, LedgerQuery, Record},
    axum::{Json, Path, Query},
    db::Db,
    field::{self, Column, FieldValue, RowDiff, Told},
    id::SubjectId,
    problem::Problem,
};
use uuid::Uuid;

use super::{Page, patients::must_be_patient, people::must_be_employee, timeline::Older};
use crate::model::{
    Clinical, Identity, Payroll, ReadChartChanges, ReadPatientChanges, ReadPayrollChanges, ReadScheduleChanges,
    Schedule,
    patients::{
        Address, Allergies, AppointmentReason, BirthDate, Conditions, Dose, Drug, Email, EncounterReason, Family,
        Given, Instructions, NhsNumber, NoteText, Phone, ResultBody, Sex,
    },
    staff::{AccountNumber, NiNumber, Salary, SortCode},
};

/// What a change made of one row.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChangeView {
    /// Its place in the clinic's chain.
    sequence: u64,
    at: Timestamp,
    /// `create`, `update` or `delete`.
    action: Option<&'static str>,
    user: Option<Uuid>,
    role: Option<String>,
    /// The table.
    entity: String,
    row: Uuid,
    /// The change, by which the timeline says whether it was committed.
    attempt: Option<Uuid>,
    fields: Vec<FieldView>,
}

/// A field before and after.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FieldView {
    name: &'static str,
    before: ValueView,
    after: ValueView,
}

/// A value, or why there is none.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ValueView {
    /// `nothing`; `value`, and then there is one; `left_out`: it was too long for the ledger, which can tell whether it was
    /// a certain text and does not hold it; or `illegible`: nobody could read it then.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = ["string", "integer", "array", "object"]))]
    value: Option<Value>,
}

/// A column's value as JSON.
trait Shown: FieldValue {
    fn shown(self) -> serde_json::Result<Value>;
}

macro_rules! shown {
    ($($type:ty),+) => { $(
        impl Shown for $type {
            fn shown(self) -> serde_json::Result<Value> {
                serde_json::to_value(self)
            }
        }
    )+ };
}
shown!(String, i64, jiff::civil::Date);

impl<T: Serialize + serde::de::DeserializeOwned> Shown for field::Json<T>
where
    Self: FieldValue,
{
    fn shown(self) -> serde_json::Result<Value> {
        serde_json::to_value(self.into_inner())
    }
}

impl<T: Shown> From<Told<T>> for ValueView {
    fn from(told: Told<T>) -> Self {
        let without = |state| Self { state, value: None };
        match told {
            Told::Nothing => without("nothing"),
            Told::LeftOut => without("left_out"),
            Told::Value(value) => match value.disclose().shown() {
                Ok(value) => Self { state: "value", value: Some(value) },
                Err(_) => without("illegible"),
            },
            _ => without("illegible"),
        }
    }
}

/// A column, if the change changed it.
fn edit<C: Column<Value: Shown>, P: Opens<C::Class>>(diff: &RowDiff<P>) -> Option<FieldView> {
    let edit = diff.get::<C>()?;
    Some(FieldView { name: C::NAME, before: edit.before.into(), after: edit.after.into() })
}

macro_rules! fields {
    ($name:ident: $class:ty = $($column:ty),+ $(,)?) => {
        fn $name<P: Opens<$class>>(diff: &RowDiff<P>) -> Vec<FieldView> {
            [$(edit::<$column, P>(diff)),+].into_iter().flatten().collect()
        }
    };
}

fields! { identity: Identity = Given, Family, BirthDate, Sex, Phone, Email, Address, NhsNumber }
fields! {
    clinical: Clinical = NoteText, Drug, Dose, Instructions, Conditions, Allergies, ResultBody, EncounterReason,
}
fields! { schedule: Schedule = AppointmentReason }
fields! { payroll: Payroll = NiNumber, SortCode, AccountNumber, Salary }

/// The changes in one part of the ledger, newest first.
async fn page<P: Permission>(
    door: &SubjectGrant<P>,
    query: LedgerQuery,
    fields: impl Fn(&RowDiff<P>) -> Vec<FieldView>,
) -> Result<Json<Page<ChangeView>>, Problem> {
    let part = door.ledger(&query.add_kind(Kind::Changed)).await?;
    let mut items = Vec::new();
    for record in &part.records {
        let diff =
            door.open_diff(record).map_err(|_| Problem::internal().with_reason("a record that does not open"))?;
        let fields = fields(&diff);
        if !fields.is_empty() {
            items.push(view(record, &diff, fields));
        }
    }
    Ok(Json(Page { items, next: part.next }))
}

fn view<P: Permission>(record: &Record, diff: &RowDiff<P>, fields: Vec<FieldView>) -> ChangeView {
    ChangeView {
        sequence: record.sequence(),
        at: record.at(),
        action: record.action().map(|action| action.as_str()),
        user: record.user().map(Uuid::from),
        role: record.role().map(str::to_owned),
        entity: diff.table().to_owned(),
        row: diff.row().into(),
        attempt: record.attempt().map(|attempt| Uuid::from_bytes(*attempt.as_bytes())),
        fields,
    }
}

macro_rules! handlers {
    ($($name:ident: $permission:ty, $fields:ident, $must:ident;)+) => { $(
        pub(super) async fn $name(
            grant: Grant<$permission>,
            Path(person): Path<SubjectId>,
            Query(older): Query<Older>,
            State(db): State<Db>,
        ) -> Result<Json<Page<ChangeView>>, Problem> {
            let query = older.query()?;
            let door = grant.subject(person).await?;
            $must(db.read(&door).await?.conn(), person).await?;
            page(&door, query, $fields).await
        }
    )+ };
}

handlers! {
    of_patient: ReadPatientChanges, identity, must_be_patient;
    of_chart: ReadChartChanges, clinical, must_be_patient;
    of_appointments: ReadScheduleChanges, schedule, must_be_patient;
    of_payroll: ReadPayrollChanges, payroll, must_be_employee;
}
