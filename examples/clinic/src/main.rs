//! Holds the parts together until the server is assembled.

fn main() -> Result<(), clinic::demo_data::DemoDataError> {
    let data = clinic::demo_data::load()?;
    for clinic in &data.clinics {
        println!("{}: {} patients, {} notes", clinic.tenant, clinic.patients.len(), clinic.notes.len());
    }
    Ok(())
}
