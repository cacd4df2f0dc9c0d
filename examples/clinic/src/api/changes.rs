//! What was changed in somebody's data, before and after, from the ledger: to who may open what it was.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
};

use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tower_ward::{
    access::{DoorError, Grant, Opens, Permission, SubjectGrant},
    audit::{AttemptId, Kind, LedgerQuery, MAX_PAGE, Outcome, Record},
    axum::{Json, Path, Query},
    field::{self, Column, DiffError, FieldValue, RowDiff, Told},
    id::SubjectId,
    problem::Problem,
};
use uuid::Uuid;

use super::{Page, patients::must_be_patient, people::must_be_employee, timeline::Older};
use crate::{
    data::Data,
    model::{
        Billing, Clinical, Identity, Payroll, ReadBillingChanges, ReadChartChanges, ReadPatientChanges,
        ReadPayrollChanges, ReadScheduleChanges, Schedule,
        patients::{
            Address, Allergies, AppointmentReason, AttachmentName, AttachmentType, BirthDate, Conditions, Dose, Drug,
            Email, EncounterReason, Family, Given, Instructions, InvoiceLines, InvoiceTotal, NhsNumber, NoteText,
            Phone, QuoteLines, QuoteTotal, ResultBody, Sex,
        },
        staff::{AccountNumber, NiNumber, Salary, SortCode},
    },
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
    /// The change, by which the timeline names it.
    attempt: Option<Uuid>,
    /// What became of it: `committed`; `rolled_back`, and then the row stayed as it was; `unknown`; or `open`, as long as
    /// nothing is on record.
    outcome: &'static str,
    /// What it made of the row is on record and did not open: the ledger or the key is damaged.
    unreadable: bool,
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
    clinical: Clinical = NoteText, Drug, Dose, Instructions, Conditions, Allergies, ResultBody, EncounterReason, AttachmentName,
    AttachmentType,
}
fields! { schedule: Schedule = AppointmentReason }
fields! { billing: Billing = QuoteLines, QuoteTotal, InvoiceLines, InvoiceTotal }
fields! { payroll: Payroll = NiNumber, SortCode, AccountNumber, Salary }

/// The changes in one part of the ledger, newest first.
async fn page<P: Permission>(
    door: &SubjectGrant<P>,
    query: LedgerQuery,
    fields: impl Fn(&RowDiff<P>) -> Vec<FieldView>,
) -> Result<Json<Page<ChangeView>>, Problem> {
    let part = door.ledger(&query.add_kind(Kind::Changed)).await?;
    let outcomes = outcomes(door, &part.records).await?;
    let mut items = Vec::new();
    for record in &part.records {
        let opened = door.open_diff(record).map(|diff| fields(&diff));
        items.extend(shown(record, &outcomes, opened)?);
    }
    Ok(Json(Page { items, next: part.next }))
}

/// What became of the changes that these records tell of.
async fn outcomes<P: Permission>(
    door: &SubjectGrant<P>,
    records: &[Record],
) -> Result<HashMap<AttemptId, Outcome>, DoorError> {
    let mut found = HashMap::new();
    let Some(oldest) = records.iter().map(Record::at).min() else { return Ok(found) };
    let one = NonZeroUsize::MIN;
    let ended = LedgerQuery::new().add_kind(Kind::Outcome);
    // Nearly all stand right behind their changes.
    let near = ended.clone().with_from(oldest).oldest_first().with_limit(NonZeroUsize::new(MAX_PAGE).unwrap_or(one));
    let known = |record: &Record| Some((record.attempt()?, record.outcome()?));
    found.extend(door.ledger(&near).await?.records.iter().filter_map(known));
    // And what nobody knew may have been settled long after.
    for attempt in records.iter().filter_map(Record::attempt).collect::<BTreeSet<_>>() {
        if found.get(&attempt).is_none_or(|outcome| *outcome == Outcome::Unknown) {
            let last = ended.clone().with_attempt(attempt).with_limit(one);
            found.extend(door.ledger(&last).await?.records.iter().filter_map(known));
        }
    }
    Ok(found)
}

/// One entry of the page; none if the change changed nothing that is shown here. A record that does not open is shown as
/// such, and does not hide those behind it.
fn shown(
    record: &Record,
    outcomes: &HashMap<AttemptId, Outcome>,
    opened: Result<Vec<FieldView>, DiffError>,
) -> Result<Option<ChangeView>, Problem> {
    let (unreadable, fields) = match opened {
        Ok(fields) if fields.is_empty() => return Ok(None),
        Ok(fields) => (false, fields),
        Err(DiffError::Closed(closed)) => return Err(DoorError::from(closed).into()),
        Err(_) => (true, Vec::new()),
    };
    let (Some(entity), Some(row)) = (record.entity(), record.row()) else {
        return Err(Problem::internal().with_reason("a change of no row"));
    };
    Ok(Some(ChangeView {
        sequence: record.sequence(),
        at: record.at(),
        action: record.action().map(|action| action.as_str()),
        user: record.user().map(Uuid::from),
        role: record.role().map(str::to_owned),
        entity: entity.to_owned(),
        row: row.into(),
        attempt: record.attempt().map(|attempt| Uuid::from_bytes(*attempt.as_bytes())),
        outcome: record.attempt().and_then(|attempt| outcomes.get(&attempt)).map_or("open", |outcome| outcome.as_str()),
        unreadable,
        fields,
    }))
}

macro_rules! handlers {
    ($($name:ident: $permission:ty, $fields:ident, $must:ident;)+) => { $(
        pub(super) async fn $name(
            grant: Grant<$permission>,
            Path(person): Path<SubjectId>,
            Query(older): Query<Older>,
            State(data): State<Data>,
        ) -> Result<Json<Page<ChangeView>>, Problem> {
            let query = older.query()?;
            let door = grant.subject(person).await?;
            $must(&mut data.read(&door).await?, person).await?;
            page(&door, query, $fields).await
        }
    )+ };
}

handlers! {
    of_patient: ReadPatientChanges, identity, must_be_patient;
    of_chart: ReadChartChanges, clinical, must_be_patient;
    of_appointments: ReadScheduleChanges, schedule, must_be_patient;
    of_billing: ReadBillingChanges, billing, must_be_patient;
    of_payroll: ReadPayrollChanges, payroll, must_be_employee;
}

#[cfg(test)]
mod tests {
    use tower_ward::access::Closed;

    use super::*;

    fn record() -> Record {
        let line = format!(
            r#"{{"v":1,"index":0,"stream":"harbour","seq":3,"prev":"{}","at":"2026-11-30T10:00:00.000000000Z","mono":5,"#,
            "0".repeat(64),
        ) + r#""kind":"changed","action":"update","entity":"notes","row":"018f4e3a-7b1c-7def-8abc-000000000006","#
            + r#""attempt":"018f4e3a-7b1c-7def-8abc-000000000007","changes":[{"class":"clinical","sealed":"AQE","#
            + r#""fields":[{"name":"text","before":"illegible"}]}]}"#;
        Record::from_bytes(line.as_bytes()).unwrap()
    }

    /// One damaged record would take the whole history with it.
    #[test]
    fn a_record_that_does_not_open_is_shown_as_such_and_an_end_of_the_request_is_a_refusal() {
        let (record, none) = (record(), HashMap::new());
        for error in [DiffError::NotOpened, DiffError::Elsewhere] {
            let entry = shown(&record, &none, Err(error)).unwrap().unwrap();
            assert_eq!((entry.unreadable, entry.entity.as_str(), entry.sequence), (true, "notes", 3), "{error}");
            assert!(entry.fields.is_empty(), "{error}");
        }
        assert!(shown(&record, &none, Err(DiffError::Closed(Closed))).is_err());
        assert!(shown(&record, &none, Ok(Vec::new())).unwrap().is_none());
    }

    #[test]
    fn an_entry_says_what_became_of_its_change() {
        let record = record();
        let attempt = record.attempt().unwrap();
        let rows = [
            (None, "open"),
            (Some(Outcome::Committed), "committed"),
            (Some(Outcome::RolledBack), "rolled_back"),
            (Some(Outcome::Unknown), "unknown"),
        ];
        for (outcome, expected) in rows {
            let outcomes = outcome.into_iter().map(|outcome| (attempt, outcome)).collect();
            let entry = shown(&record, &outcomes, Err(DiffError::NotOpened)).unwrap().unwrap();
            assert_eq!(entry.outcome, expected);
        }
    }
}
