//! A patient, with everything in their chart.

use jiff::civil::Time;
use tower_ward::{
    access::{Relations, SubjectGrant},
    db::Change,
    field::{Encrypted, Json},
    id::{RowId, SubjectId},
};
use uuid::Uuid;

use super::{Filling, SeedError, Wrap, written};
use crate::{
    api::{
        Condition, ResultBody, appointments,
        chart::{encounters, notes, prescriptions, results},
        insert_patient,
    },
    data::{Write, sql},
    demo_data::{self, AppointmentStatus, CodeSystem, EncounterKind, PrescriptionStatus},
    model::{
        SeedDemo,
        patients::{Allergies, Conditions},
    },
};

/// When it is not known at what time of the day.
const NOON: Time = Time::constant(12, 0, 0, 0);

impl Filling<'_> {
    /// One patient: master data and chart in one transaction, then who looks after them.
    pub(super) async fn patient(
        &mut self,
        patient: &demo_data::Patient,
        with_account: bool,
    ) -> Result<SubjectId, SeedError> {
        let chart = written!(self.grant.admit().await);
        let subject = chart.subject();
        let account = match with_account {
            true => Some(self.account(&patient.email, "patient", Some(subject)).await?),
            false => None,
        };
        let mut tx = written!(self.app.data.change(&chart, Change::import("patients")).await);
        insert_patient(&mut tx, &chart, subject, patient, self.app.clock.now()).await.map_err(SeedError::Write)?;
        self.summary(&mut tx, &chart, patient).await?;
        self.chart(&mut tx, &chart, &patient.id).await?;
        self.office(&mut tx, &chart, &patient.id, account).await?;
        written!(tx.commit().await);
        for assignment in self.clinic.care_team.iter().filter(|a| a.patient == patient.id) {
            self.relate(&chart, self.who(&assignment.staff)?, Relations::ASSIGNED).await?;
        }
        Ok(subject)
    }

    async fn summary(
        &self,
        tx: &mut Write,
        chart: &SubjectGrant<SeedDemo>,
        patient: &demo_data::Patient,
    ) -> Result<(), SeedError> {
        let row = RowId::from(Uuid::from(chart.subject()));
        let conditions = patient.conditions.iter().map(|c| Condition {
            code: c.code.clone(),
            system: match c.system {
                CodeSystem::Snomed => "snomed",
                CodeSystem::Icd10Cm => "icd10-cm",
                CodeSystem::Loinc => "loinc",
            }
            .to_owned(),
            display: c.display.clone(),
            active: c.active,
        });
        let insert = sql("insert into patient_clinical (patient, conditions, allergies) values ($1, $2, $3)")
            .bind(chart.subject())
            .bind(written!(Encrypted::<Conditions>::seal(&Json::new(conditions.collect()), chart, row)))
            .bind(written!(Encrypted::<Allergies>::seal(&Json::new(patient.allergies.clone()), chart, row)));
        written!(insert.execute(tx).await);
        Ok(())
    }

    async fn chart(&self, tx: &mut Write, chart: &SubjectGrant<SeedDemo>, patient: &str) -> Result<(), SeedError> {
        let (subject, clinic) = (chart.subject(), self.clinic);
        for encounter in clinic.encounters.iter().filter(|e| e.patient == patient) {
            let id = self.row();
            let row = encounters::EncounterRow {
                id,
                clinician: self.who(&encounter.clinician)?,
                at: self.days.millis(encounter.day, encounter.time)?,
                kind: match encounter.kind {
                    EncounterKind::Ambulatory => "ambulatory",
                    EncounterKind::Emergency => "emergency",
                    EncounterKind::Inpatient => "inpatient",
                    EncounterKind::Home => "home",
                }
                .to_owned(),
                reason: written!(Encrypted::seal(&encounter.reason, chart, id)),
                test: true,
            };
            written!(encounters::insert(tx, subject, &row).await);
        }
        for note in clinic.notes.iter().filter(|n| n.patient == patient) {
            let id = self.row();
            let row = notes::NoteRow {
                id,
                author: self.who(&note.author)?,
                at: self.days.millis(note.day, note.time)?,
                text: written!(Encrypted::seal(&note.text, chart, id)),
                test: true,
            };
            written!(notes::insert(tx, subject, &row).await);
        }
        for prescription in clinic.prescriptions.iter().filter(|p| p.patient == patient) {
            let id = self.row();
            let row = prescriptions::PrescriptionRow {
                id,
                prescriber: self.who(&prescription.prescriber)?,
                at: self.days.millis(prescription.day, NOON)?,
                drug: written!(Encrypted::seal(&prescription.drug, chart, id)),
                dose: written!(Encrypted::seal(&prescription.dose, chart, id)),
                instructions: written!(Encrypted::seal(&prescription.instructions, chart, id)),
                status: match prescription.status {
                    PrescriptionStatus::Active => "active",
                    PrescriptionStatus::Stopped => "stopped",
                    PrescriptionStatus::Completed => "completed",
                }
                .to_owned(),
                test: true,
            };
            written!(prescriptions::insert(tx, subject, &row).await);
        }
        for result in clinic.results.iter().filter(|r| r.patient == patient) {
            let id = self.row();
            let body = written!(Encrypted::seal(&Json::new(ResultBody::demo(result)), chart, id));
            let row = results::ResultRow { id, at: self.days.millis(result.day, NOON)?, body, test: true };
            written!(results::insert(tx, subject, &row).await);
        }
        for appointment in clinic.appointments.iter().filter(|a| a.patient == patient) {
            let id = self.row();
            let row = appointments::NewRow {
                id,
                clinician: self.who(&appointment.clinician)?,
                starts_at: self.days.millis(appointment.day, appointment.time)?,
                minutes: i64::from(appointment.minutes),
                reason: written!(Encrypted::seal(&appointment.reason, chart, id)),
                status: match appointment.status {
                    AppointmentStatus::Booked => "booked",
                    AppointmentStatus::Cancelled => "cancelled",
                    AppointmentStatus::Attended => "attended",
                    AppointmentStatus::DidNotAttend => "did_not_attend",
                },
                test: true,
            };
            written!(appointments::insert(tx, subject, &row).await);
        }
        Ok(())
    }
}
