use tower_ward::{
    access::{ClinicGrant, SubjectGrant},
    field::{BlindIndex, Encrypted, IndexError, OpenError},
    id::RowId,
};

tower_ward::classes! { pub Clinical = "clinical"; pub Payroll = "payroll"; }
tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; pub PayStaff = "staff.pay" opens Payroll; }
tower_ward::columns! {
    /// What a doctor wrote.
    pub NoteText: String = "notes"."text" as Clinical;
    pub NiNumber: String = "employees"."ni" as Payroll, indexed;
}

pub fn read(chart: &SubjectGrant<ReadNotes>, id: RowId, note: &Encrypted<NoteText>) -> Result<String, OpenError> {
    Ok(note.open(chart, id)?.disclose())
}

pub fn find(clinic: &ClinicGrant<PayStaff>, number: &String) -> Result<BlindIndex<NiNumber>, IndexError> {
    BlindIndex::of(number, clinic)
}

fn main() {
    assert_eq!(COLUMNS.len(), 2);
}
