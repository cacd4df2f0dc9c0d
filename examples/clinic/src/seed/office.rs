//! What a clinic's office keeps.

use std::collections::HashMap;

use jiff::civil::Time;
use tower_ward::{
    access::SubjectGrant,
    db::Change,
    field::{Encrypted, Json},
    id::UserId,
};

use super::{Filling, SeedError, Wrap, written};
use crate::{
    api::{
        Line, attachments,
        billing::{invoices, quotes, total},
        circle,
        hr::{absences, credentials, timesheets, training},
        incidents, messages,
    },
    data::Write,
    demo_data::{AbsenceKind, AbsenceStatus, BillLine, IncidentKind, InvoiceStatus, QuoteStatus, Role},
    model::SeedDemo,
};

fn lines(lines: &[BillLine]) -> Vec<Line> {
    let line = |l: &BillLine| Line { text: l.text.clone(), quantity: l.quantity, unit_price_pence: l.unit_price_pence };
    lines.iter().map(line).collect()
}

impl Filling<'_> {
    /// What the office keeps of one patient, who may have an account.
    pub(super) async fn office(
        &self,
        tx: &mut Write,
        chart: &SubjectGrant<SeedDemo>,
        patient: &str,
        account: Option<UserId>,
    ) -> Result<(), SeedError> {
        for message in self.clinic.messages.iter().filter(|m| m.patient == patient) {
            let (id, themself) = (self.row(), account.ok_or(SeedError::Reference("patient's account")));
            let row = messages::MessageRow {
                id,
                author: message.author.as_deref().map_or(themself, |author| self.who(author))?,
                at: self.days.millis(message.day, message.time)?,
                sender: if message.author.is_none() { "patient" } else { "clinic" }.to_owned(),
                text: written!(Encrypted::seal(&message.text, chart, id)),
                test: true,
            };
            written!(messages::insert(tx, chart.subject(), &row).await);
        }
        for attachment in self.clinic.attachments.iter().filter(|a| a.patient == patient) {
            let id = self.row();
            let row = attachments::AttachmentRow {
                id,
                author: self.who(&attachment.author)?,
                at: self.days.millis(attachment.day, attachment.time)?,
                file_name: written!(Encrypted::seal(&attachment.file_name, chart, id)),
                media_type: written!(Encrypted::seal(&attachment.media_type, chart, id)),
                content: written!(Encrypted::seal(&attachment.text.clone().into_bytes(), chart, id)),
                test: true,
            };
            written!(attachments::insert(tx, chart.subject(), &row).await);
        }
        self.bills(tx, chart, patient).await
    }

    async fn bills(&self, tx: &mut Write, chart: &SubjectGrant<SeedDemo>, patient: &str) -> Result<(), SeedError> {
        let mut offered = HashMap::new();
        for quote in self.clinic.quotes.iter().filter(|q| q.patient == patient) {
            let (id, lines) = (self.row(), lines(&quote.lines));
            offered.insert(quote.id.as_str(), id);
            let row = quotes::QuoteRow {
                id,
                author: self.who(&quote.author)?,
                at: self.days.millis(quote.day, quote.time)?,
                total: written!(Encrypted::seal(&total(&lines).map_err(SeedError::Write)?, chart, id)),
                lines: written!(Encrypted::seal(&Json::new(lines), chart, id)),
                status: match quote.status {
                    QuoteStatus::Open => "open",
                    QuoteStatus::Accepted => "accepted",
                    QuoteStatus::Declined => "declined",
                    QuoteStatus::Expired => "expired",
                }
                .to_owned(),
                version: 1,
                test: true,
            };
            written!(quotes::insert(tx, chart.subject(), &row).await);
        }
        for invoice in self.clinic.invoices.iter().filter(|i| i.patient == patient) {
            let (id, lines) = (self.row(), lines(&invoice.lines));
            let quote = |quote: &String| offered.get(quote.as_str()).copied().ok_or(SeedError::Reference("quote"));
            let row = invoices::InvoiceRow {
                id,
                author: self.who(&invoice.author)?,
                at: self.days.millis(invoice.day, invoice.time)?,
                quote: invoice.quote.as_ref().map(quote).transpose()?,
                total: written!(Encrypted::seal(&total(&lines).map_err(SeedError::Write)?, chart, id)),
                lines: written!(Encrypted::seal(&Json::new(lines), chart, id)),
                status: match invoice.status {
                    InvoiceStatus::Open => "open",
                    InvoiceStatus::Paid => "paid",
                    InvoiceStatus::Cancelled => "cancelled",
                }
                .to_owned(),
                version: 1,
                test: true,
            };
            written!(invoices::insert(tx, chart.subject(), &row).await);
        }
        Ok(())
    }

    /// What the office keeps of one employee.
    pub(super) async fn personnel(
        &self,
        tx: &mut Write,
        file: &SubjectGrant<SeedDemo>,
        member: &str,
    ) -> Result<(), SeedError> {
        let (employee, user) = (file.subject(), self.who(member)?);
        let midnight = Time::midnight();
        for absence in self.clinic.absences.iter().filter(|a| a.staff == member) {
            let (id, first_day) = (self.row(), self.days.millis(absence.first_day, midnight)?);
            let kind = match absence.kind {
                AbsenceKind::Holiday => "holiday",
                AbsenceKind::Sick => "sick",
                AbsenceKind::Training => "training",
                AbsenceKind::Other => "other",
            };
            let row = absences::AbsenceRow {
                id,
                author: user,
                at: first_day.min(self.app.clock.now().as_millisecond()),
                first_day,
                last_day: self.days.millis(absence.last_day, midnight)?,
                kind: written!(Encrypted::seal(&kind.to_owned(), file, id)),
                note: written!(absence.note.as_ref().map(|note| Encrypted::seal(note, file, id)).transpose()),
                status: match absence.status {
                    AbsenceStatus::Requested => "requested",
                    AbsenceStatus::Approved => "approved",
                    AbsenceStatus::Refused => "refused",
                }
                .to_owned(),
                version: 1,
                test: true,
            };
            written!(absences::insert(tx, employee, &row).await);
        }
        for sheet in self.clinic.timesheets.iter().filter(|s| s.staff == member) {
            let id = self.row();
            let row = timesheets::TimesheetRow {
                id,
                author: user,
                at: self.days.millis(sheet.day, midnight)?,
                minutes: written!(Encrypted::seal(&i64::from(sheet.minutes), file, id)),
                note: written!(sheet.note.as_ref().map(|note| Encrypted::seal(note, file, id)).transpose()),
                test: true,
            };
            written!(timesheets::insert(tx, employee, &row).await);
        }
        for course in self.clinic.training.iter().filter(|c| c.staff == member) {
            let id = self.row();
            let row = training::TrainingRow {
                id,
                at: self.days.millis(course.completed_day, midnight)?,
                expires: course.expires_day.map(|day| self.days.millis(day, midnight)).transpose()?,
                title: written!(Encrypted::seal(&course.title, file, id)),
                test: true,
            };
            written!(training::insert(tx, employee, &row).await);
        }
        for credential in self.clinic.credentials.iter().filter(|c| c.staff == member) {
            let id = self.row();
            let row = credentials::CredentialRow {
                id,
                at: self.app.clock.now().as_millisecond(),
                expires: credential.expires_day.map(|day| self.days.millis(day, midnight)).transpose()?,
                kind: written!(Encrypted::seal(&credential.kind, file, id)),
                number: written!(Encrypted::seal(&credential.number, file, id)),
                test: true,
            };
            written!(credentials::insert(tx, employee, &row).await);
        }
        Ok(())
    }

    /// What went wrong in the clinic.
    pub(super) async fn incidents(&self) -> Result<(), SeedError> {
        let clinic = written!(self.grant.clinic().await);
        let mut tx = written!(self.app.data.change(&clinic, Change::import("incidents")).await);
        for incident in &self.clinic.incidents {
            let id = self.row();
            let row = incidents::IncidentRow {
                id,
                reporter: self.who(&incident.reporter)?,
                at: self.days.millis(incident.day, incident.time)?,
                kind: match incident.kind {
                    IncidentKind::Safety => "safety",
                    IncidentKind::NearMiss => "near_miss",
                    IncidentKind::Data => "data",
                    IncidentKind::Equipment => "equipment",
                    IncidentKind::Other => "other",
                }
                .to_owned(),
                title: written!(Encrypted::seal(&incident.title, &clinic, id)),
                text: written!(Encrypted::seal(&incident.text, &clinic, id)),
                status: if incident.outcome.is_some() { "closed" } else { "open" }.to_owned(),
                outcome: written!(incident.outcome.as_ref().map(|text| Encrypted::seal(text, &clinic, id)).transpose()),
                version: 1,
                test: true,
            };
            written!(incidents::insert(&mut tx, &row).await);
        }
        written!(tx.commit().await);
        Ok(())
    }

    /// The invitation by which somebody came into a patient's circle.
    pub(super) async fn invitation(
        &self,
        tx: &mut Write,
        chart: &SubjectGrant<SeedDemo>,
        user: UserId,
        email: &str,
    ) -> Result<(), SeedError> {
        let desk = self.clinic.staff.iter().find(|member| member.role == Role::Receptionist);
        let (id, at) = (self.row(), self.app.clock.now().as_millisecond());
        let row = circle::InvitationRow {
            id,
            inviter: self.who(&desk.ok_or(SeedError::Reference("receptionist"))?.id)?,
            at,
            email: written!(Encrypted::seal(&email.to_lowercase(), chart, id)),
            expires_at: at,
            used_at: Some(at),
            user: Some(user),
            test: true,
        };
        // No token's hash.
        let hash = [*self.row().as_bytes(), *self.row().as_bytes()].concat();
        written!(circle::insert(tx, chart.subject(), hash, &row).await);
        Ok(())
    }
}
