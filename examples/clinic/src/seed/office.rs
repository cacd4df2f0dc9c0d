//! What a clinic's office keeps.

use std::collections::HashMap;

use tower_ward::{
    access::SubjectGrant,
    field::{Encrypted, Json},
    id::UserId,
};

use super::{Filling, SeedError, Wrap, written};
use crate::{
    api::{
        Line,
        billing::{invoices, quotes, total},
        messages,
    },
    data::Write,
    demo_data::{BillLine, InvoiceStatus, QuoteStatus},
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
}
