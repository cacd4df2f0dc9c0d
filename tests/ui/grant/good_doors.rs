use tower_ward::{
    access::{DoorError, Grant},
    db::{Change, Db},
    field::Encrypted,
    id::{RowId, SubjectId},
    problem::Problem,
};

tower_ward::classes! { pub Clinical = "clinical"; pub Schedule = "schedule"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub WriteNotes = "notes.write" changes Clinical; }
tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }

pub async fn write(grant: Grant<WriteNotes>, db: Db, patient: SubjectId, row: RowId) -> Result<(), Problem> {
    let chart = grant.subject(patient).await?;
    let tx = db.change(&chart, Change::create("notes", row)).await?;
    let _ = Encrypted::<NoteText>::seal(&"a cough".to_owned(), &chart, row)?;
    Ok(tx.commit().await?)
}

pub async fn read(grant: Grant<ReadNotes>, db: Db) -> Result<(), Problem> {
    let clinic = grant.clinic().await.map_err(|e: DoorError| Problem::from(e))?;
    let _ = db.read(&clinic).await?;
    Ok(())
}

fn main() {}
