//! A change of a patient's master data, as RFC 7396 reads it: what is absent stays, `null` clears what may be absent.

use axum::extract::State;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::Deserialize;
use tower_ward::{
    access::Grant,
    axum::{Json, Path},
    db::Change,
    field::Encrypted,
    id::SubjectId,
    problem::Problem,
};

use super::{PatientView, checks, fetch, names, row_of, view};
use crate::{
    api::{
        App,
        patch::{stated, without_defaults},
    },
    data::sql,
    model::{
        UpdatePatient,
        patients::{Address, BirthDate, Email, Family, Given, NhsNumber, Phone, Sex},
    },
};

/// A change of master data: what is absent stays, `null` clears.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = without_defaults)]
pub(crate) struct PatientPatch {
    /// The version that was read; another one by now is a 409.
    version: i64,
    /// 1 to 100 bytes.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "String")]
    given: Option<String>,
    /// 1 to 100 bytes.
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "String")]
    family: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "Date")]
    birth_date: Option<Date>,
    /// `female`, `male`, `other` or `unknown` (FHIR R4 AdministrativeGender).
    #[serde(default, deserialize_with = "stated")]
    #[schemars(with = "String")]
    sex: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    phone: Option<Option<String>>,
    #[serde(default, deserialize_with = "stated")]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "stated")]
    address: Option<Option<String>>,
    /// Ten digits.
    #[serde(default, deserialize_with = "stated")]
    nhs_number: Option<Option<String>>,
}

impl PatientPatch {
    fn check(&self, app: &App) -> Result<(), Problem> {
        self.given.as_deref().map_or(Ok(()), |v| checks::name("given", v))?;
        self.family.as_deref().map_or(Ok(()), |v| checks::name("family", v))?;
        self.birth_date.map_or(Ok(()), |v| checks::birth_date(v, app.clock.now()))?;
        self.sex.as_deref().map_or(Ok(()), checks::sex)?;
        let contacts = [("phone", &self.phone), ("email", &self.email), ("address", &self.address)];
        for (field, value) in contacts {
            checks::contact(field, value.as_ref().and_then(Option::as_deref))?;
        }
        checks::nhs_number(self.nhs_number.as_ref().and_then(Option::as_deref))?;
        let named = self.given.is_some() || self.family.is_some() || self.birth_date.is_some() || self.sex.is_some();
        let reached = contacts.iter().any(|(_, value)| value.is_some()) || self.nhs_number.is_some();
        if named || reached { Ok(()) } else { Err(Problem::bad_request("body").with_reason("a patch of nothing")) }
    }
}

pub(crate) async fn update(
    grant: Grant<UpdatePatient>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
    Json(patch): Json<PatientPatch>,
) -> Result<Json<PatientView>, Problem> {
    patch.check(&app)?;
    let chart = grant.subject(patient).await?;
    let id = row_of(patient);
    let mut tx = app.data.change(&chart, Change::update("patients", id)).await?;
    let mut query = sql("update patients set version = version + 1");
    macro_rules! set {
        ($($column:literal = $type:ident of $value:expr),+ $(,)?) => { $(
            if let Some(value) = &$value {
                query.push(concat!(", ", $column, " = ")).push_bind(Encrypted::<$type>::seal(value, &chart, id)?);
            }
        )+ };
    }
    macro_rules! set_or_clear {
        ($($column:literal = $type:ident of $value:expr),+ $(,)?) => { $(
            if let Some(value) = &$value {
                let sealed = value.as_ref().map(|v| Encrypted::<$type>::seal(v, &chart, id)).transpose()?;
                query.push(concat!(", ", $column, " = ")).push_bind(sealed);
            }
        )+ };
    }
    set! {
        "given" = Given of patch.given,
        "family" = Family of patch.family,
        "birth_date" = BirthDate of patch.birth_date,
        "sex" = Sex of patch.sex,
    }
    set_or_clear! {
        "phone" = Phone of patch.phone,
        "email" = Email of patch.email,
        "address" = Address of patch.address,
        "nhs_number" = NhsNumber of patch.nhs_number,
    }
    query.push(" where id = ").push_bind(patient).push(" and version = ").push_bind(patch.version);
    let done = query.execute(&mut tx).await?;
    let row = fetch(&mut tx, patient).await?;
    if done == 0 {
        return Err(Problem::conflict().with_reason("another version by now"));
    }
    let view = view(&row, &chart, patient)?;
    if patch.given.is_some() || patch.family.is_some() {
        names::index(&mut tx, &chart, patient, &view.given, &view.family).await?;
    }
    tx.commit().await?;
    Ok(Json(view))
}
