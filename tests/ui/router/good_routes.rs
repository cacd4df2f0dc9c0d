use tower_ward::{
    access::{Grant, PolicyError},
    axum::{Json, Path, Router},
    id::SubjectId,
    problem::Problem,
    stack::{Visit, Ward, WardService},
};

tower_ward::permissions! { pub ReadNotes = "notes.read"; pub ReadSchedule = "schedule.read"; }

async fn read_notes(grant: Grant<ReadNotes>, Path(patient): Path<SubjectId>) -> Result<Json<Vec<String>>, Problem> {
    let _chart = grant.subject(patient).await?;
    Ok(Json(vec![]))
}

async fn login(visit: Visit, Json(_): Json<String>) -> &'static str {
    if visit.principal().is_some() { "again" } else { "first" }
}

pub fn routes(ward: &Ward) -> Result<WardService<axum::Router>, PolicyError> {
    Router::new(ward)
        .get("/patients/{id}/notes", read_notes)
        .get("/schedule", |_: Grant<ReadSchedule>| async { "schedule" })
        .public_post("/login", "who logs in has no token yet", login)
        .into_service()
}

fn main() {}
