//! The end of a patient's data.
//!
//! 1. The patient's keys are destroyed, in the key store and in its copy: no list, search, chart or backup opens them again.
//!    What finds them without a key goes with them: the blind indexes of their name, who is assigned to them, whose circle
//!    they are.
//! 2. Appointments that have not begun are deleted: nobody waits for somebody who is not there any more.
//! 3. Everything else stays as it stands, sealed under keys that are gone, since a clinic must be able to show for years
//!    that there was a chart, and when it was written in: past appointments, visits, notes, prescriptions, results,
//!    attachments, messages, bills, invitations to their circle, and who opened them, in the ledger. Their times, states
//!    and authors stand in clear; what they say does not open.
//!
//! A login that the patient had is an account, and not theirs to erase: it opens nothing any more.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use tower_ward::{
    access::Grant,
    axum::{Json, Path},
    id::SubjectId,
    privacy::ErasureError,
    problem::Problem,
};

use super::not_a_patient;
use crate::{
    api::App,
    data::{Tx, sql},
    model::ErasePatient,
};

/// How far an erasure has come.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ErasedView {
    /// Always true: from now on nothing of the patient opens.
    erased: bool,
    /// Whether every copy of the key store has confirmed. If not, it is asked again until it has; ask again to see.
    complete: bool,
    /// How many copies have confirmed, the key store itself among them.
    copies: usize,
}

pub(crate) async fn erase(
    grant: Grant<ErasePatient>,
    Path(patient): Path<SubjectId>,
    State(app): State<App>,
) -> Result<Json<ErasedView>, Problem> {
    let now = app.clock.now().as_millisecond();
    match app.erasures.erase_with(&grant, patient, |tx| Box::pin(also(tx, patient, now))).await {
        Ok(erased) => Ok(Json(ErasedView { erased: true, complete: erased.is_complete(), copies: erased.confirmed() })),
        Err(ErasureError::Application(sqlx::Error::RowNotFound)) => Err(not_a_patient()),
        Err(error) => Err(error.into()),
    }
}

/// What goes with a patient.
async fn also(tx: &mut dyn Tx, patient: SubjectId, now: i64) -> Result<(), sqlx::Error> {
    // Employees are people too, and the law has more to say about them.
    if !sql("select 1 from patients where id = $1").bind(patient).finds(tx).await? {
        return Err(sqlx::Error::RowNotFound);
    }
    let diary = sql("delete from appointments where patient = $1 and starts_at > $2");
    diary.bind(patient).bind(now).execute(tx).await?;
    Ok(())
}
