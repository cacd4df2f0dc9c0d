//! A record's values, opened by who may.

use std::{fmt, marker::PhantomData};

use zeroize::Zeroizing;

use super::{
    Place,
    form::{self, ILLEGIBLE, LEFT_OUT, NOTHING, VALUE, padding},
};
use crate::{
    access::{ClinicGrant, Closed, DataClass, Opens, Permission, Sealing, SubjectGrant, contains},
    audit::{AttemptId, ClassDiff, Kind, Record, Stated},
    field::{
        Column, FieldValue, Phi,
        format::{Defect, MAX_PLAINTEXT, TAG},
        value::{Encoder, Plaintext},
    },
    id::{RowId, SubjectId, TenantId},
    keys::{LedgerKey, commit},
    secret::equal,
    trace,
};

/// What a record says of a row's values was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// The request has ended, or the person was erased meanwhile.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The record says nothing of values: it is of another kind than `changed`.
    #[error("the record states no values: ask for records of the kind `changed`")]
    NoValues,
    /// The record is of another person or clinic than the door.
    #[error("the record is of another person or clinic: open it through the door of the one that it names")]
    Elsewhere,
    /// The record is not as it was made.
    #[error("the values of the record did not open: the trace says why")]
    NotOpened,
}

/// Before a change, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What the field was.
    Before = 0,
    /// What it became.
    After = 1,
}

/// What is known of a field's value on one side of a change.
#[derive(Debug)]
#[non_exhaustive]
pub enum Told<T: FieldValue> {
    /// There was none.
    Nothing,
    /// This.
    Value(Phi<T>),
    /// It found no room in the record: whether it was a certain value, its [`CommitmentKey`] tells.
    LeftOut,
    /// Something that did not open as a value of this field.
    Illegible,
}

/// A field before and after a change.
#[derive(Debug)]
pub struct Edit<T: FieldValue> {
    /// What it was.
    pub before: Told<T>,
    /// What it became.
    pub after: Told<T>,
}

/// What a change made of one row, of the classes that `P` opens.
pub struct RowDiff<P> {
    table: Box<str>,
    row: RowId,
    attempt: AttemptId,
    tenant: TenantId,
    subject: Option<SubjectId>,
    sections: Vec<(ClassDiff, Plaintext, LedgerKey)>,
    _permission: PhantomData<fn() -> P>,
}

impl<P> fmt::Debug for RowDiff<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowDiff").field("table", &self.table).field("row", &self.row).finish_non_exhaustive()
    }
}

impl<P: Permission> SubjectGrant<P> {
    /// Opens what a record of this person says of values before and after a change: those of the classes that `P` opens, and
    /// no others.
    ///
    /// ```
    /// use tower_ward::{access::{DoorError, SubjectGrant}, field::{DiffError, Told}};
    ///
    /// tower_ward::classes! { pub Clinical = "clinical"; }
    /// tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }
    /// tower_ward::columns! { pub NoteText: String = "notes"."text" as Clinical; }
    ///
    /// /// What the newest notes said before they were changed.
    /// async fn earlier(chart: &SubjectGrant<ReadNotes>) -> Result<Vec<String>, DoorError> {
    ///     let records = chart.timeline(None, 100).await?.records;
    ///     let diffs = records.iter().filter_map(|record| chart.open_diff(record).ok());
    ///     let texts = diffs.filter_map(|diff| match diff.get::<NoteText>()?.before {
    ///         Told::Value(text) => Some(text.disclose()),
    ///         _ => None,
    ///     });
    ///     Ok(texts.collect())
    /// }
    /// ```
    ///
    /// A permission that does not open the column's class does not compile:
    ///
    /// ```compile_fail,E0277
    /// # use tower_ward::{access::SubjectGrant, audit::Record};
    /// # tower_ward::classes! { pub Clinical = "clinical"; pub Payroll = "payroll"; }
    /// # tower_ward::permissions! { pub ReadNotes = "notes.read" opens Clinical; }
    /// # tower_ward::columns! { pub Iban: String = "employees"."iban" as Payroll; }
    /// fn iban(chart: &SubjectGrant<ReadNotes>, record: &Record) { let _ = chart.open_diff(record).unwrap().get::<Iban>(); }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DiffError::Closed`] once the request has ended or the person is erased; [`DiffError::NoValues`] and
    /// [`DiffError::Elsewhere`] for another record than one of this person's changes; [`DiffError::NotOpened`] for one that
    /// is not as it was made.
    ///
    /// # Security
    ///
    /// Each class is sealed under a key of its own, and to what the record says in clear: clinic, person, attempt, table,
    /// row, fields and commitments. The ledger cannot be made to show a value under another name, and shows none any more
    /// once the person is erased.
    pub fn open_diff(&self, record: &Record) -> Result<RowDiff<P>, DiffError> {
        open(&self.sealing_any()?, record, P::OPENS)
    }
}

impl<P: Permission> ClinicGrant<P> {
    /// The same for a record of rows that belong to no person.
    ///
    /// # Errors
    ///
    /// As [`SubjectGrant::open_diff`].
    pub fn open_diff(&self, record: &Record) -> Result<RowDiff<P>, DiffError> {
        open(&self.sealing_any()?, record, P::OPENS)
    }
}

fn open<P>(sealing: &Sealing<'_>, record: &Record, opens: &[&str]) -> Result<RowDiff<P>, DiffError> {
    let (Kind::Changed, Some(attempt), Some(row), Some(table)) =
        (record.kind(), record.attempt(), record.row(), record.entity())
    else {
        return Err(DiffError::NoValues);
    };
    if record.tenant() != Some(sealing.tenant) || record.subjects() != sealing.subject.as_slice() {
        return Err(DiffError::Elsewhere);
    }
    let place = Place { tenant: sealing.tenant, subject: sealing.subject, attempt, table, row };
    let mut sections = Vec::new();
    for section in record.changes().iter().filter(|section| contains(opens, &section.class)) {
        let opened = form::open(&sealing.key, &place, &section.class, &section.fields, &section.sealed).and_then(
            |(values, key)| if is_whole(section, &values) { Ok((values, key)) } else { Err(Defect::NotCanonical) },
        );
        let (values, key) = opened.map_err(|why| {
            trace::event!(warn, table = table, class = &*section.class, why = %why, "values of a record did not open");
            DiffError::NotOpened
        })?;
        sections.push((section.clone(), values, key));
    }
    Ok(RowDiff {
        table: table.into(),
        row,
        attempt,
        tenant: sealing.tenant.clone(),
        subject: sealing.subject,
        sections,
        _permission: PhantomData,
    })
}

/// The next value of the list.
fn next<'a>(list: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = list.split_first()?;
    let (value, rest) = match tag {
        NOTHING | LEFT_OUT | ILLEGIBLE => (&[][..], rest),
        VALUE => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            rest.split_at_checked(u32::from_be_bytes(*length) as usize)?
        }
        _ => return None,
    };
    *list = rest;
    Some((tag, value))
}

/// Whether the list has as many values as the record names, each is what the record says of it, and zeros follow up to the
/// next step and no further.
fn is_whole(section: &ClassDiff, values: &Plaintext) -> bool {
    let mut list = values.as_bytes();
    let good = section.fields.iter().all(|field| {
        [field.before, field.after].into_iter().all(|stated| {
            matches!(
                (next(&mut list).map(|(tag, _)| tag), stated),
                (Some(NOTHING), Stated::Nothing)
                    | (Some(ILLEGIBLE), Stated::Illegible)
                    | (Some(VALUE | LEFT_OUT), Stated::Commitment(_))
            )
        })
    });
    let length = values.as_bytes().len();
    good && list.len() == padding(length - list.len()) && list.iter().all(|byte| *byte == 0)
}

impl<P: Permission> RowDiff<P> {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The row.
    #[must_use]
    pub fn row(&self) -> RowId {
        self.row
    }

    /// A column before and after the change; `None` if it did not change, or is of another table.
    #[must_use]
    pub fn get<C: Column>(&self) -> Option<Edit<C::Value>>
    where
        P: Opens<C::Class>,
    {
        const {
            assert!(contains(P::OPENS, C::Class::ID), "`Opens` was implemented by hand: declare it in `permissions!`");
        };
        let (section, values, _) = self.section::<C>()?;
        let mut list = values.as_bytes();
        for field in &section.fields {
            let (before, after) = (next(&mut list)?, next(&mut list)?);
            if *field.name == *C::NAME {
                return Some(Edit { before: told(before), after: told(after) });
            }
        }
        None
    }

    /// The key of the commitment to a column's value, for who is to be shown that it was this value and no other: he needs the
    /// record and this key, and learns nothing of any other value. `None` if there is no such value.
    ///
    /// ```
    /// use tower_ward::{access::ClinicGrant, audit::Record, field::{DiffError, Edit, RowDiff, Side}};
    ///
    /// tower_ward::classes! { pub Payroll = "payroll"; }
    /// tower_ward::permissions! { pub KeepStaff = "staff.keep" changes Payroll; }
    /// tower_ward::columns! { pub Salary: i64 = "staff"."salary" as Payroll; }
    ///
    /// /// What the salary was, and what its commitment is opened with.
    /// fn salary(clinic: &ClinicGrant<KeepStaff>, record: &Record) -> Result<Option<(Edit<i64>, [u8; 32])>, DiffError> {
    ///     let diff: RowDiff<KeepStaff> = clinic.open_diff(record)?;
    ///     let key = diff.commitment_key::<Salary>(Side::Before);
    ///     Ok(diff.get::<Salary>().zip(key.map(|key| *key.as_bytes())))
    /// }
    /// ```
    #[must_use]
    pub fn commitment_key<C: Column>(&self, side: Side) -> Option<CommitmentKey>
    where
        P: Opens<C::Class>,
    {
        const {
            assert!(contains(P::OPENS, C::Class::ID), "`Opens` was implemented by hand: declare it in `permissions!`");
        };
        let (section, _, key) = self.section::<C>()?;
        let field = section.fields.iter().find(|field| *field.name == *C::NAME)?;
        let stated = if side == Side::Before { field.before } else { field.after };
        if !matches!(stated, Stated::Commitment(_)) {
            return None;
        }
        let place = Place {
            tenant: &self.tenant,
            subject: self.subject,
            attempt: self.attempt,
            table: &self.table,
            row: self.row,
        };
        Some(CommitmentKey(place.commitment_key(key, C::Class::ID, C::NAME, side as u8)))
    }

    #[cfg(test)]
    pub(super) fn opened_classes(&self) -> Vec<&str> {
        self.sections.iter().map(|(section, ..)| &*section.class).collect()
    }

    fn section<C: Column>(&self) -> Option<&(ClassDiff, Plaintext, LedgerKey)> {
        if *self.table != *C::TABLE {
            return None;
        }
        self.sections.iter().find(|(section, ..)| *section.class == *C::Class::ID)
    }
}

fn told<T: FieldValue>((tag, value): (u8, &[u8])) -> Told<T> {
    match tag {
        NOTHING => Told::Nothing,
        LEFT_OUT => Told::LeftOut,
        // A value that another version of the type wrote may not be one of this type's.
        VALUE => {
            T::decode(Plaintext::new(value.to_vec())).map_or(Told::Illegible, |value| Told::Value(Phi::new(value)))
        }
        _ => Told::Illegible,
    }
}

/// The key of one commitment in one record.
///
/// ```
/// use tower_ward::{audit::Record, field::CommitmentKey};
///
/// /// Whoever was given the key and a copy of the record sees for himself that this account number was there before.
/// fn was(record: &Record, key: &CommitmentKey, number: &String) -> bool {
///     let fields = record.changes().iter().flat_map(|class| class.fields());
///     fields.filter(|field| field.name() == "account_number").any(|field| key.proves(field.before(), number))
/// }
/// assert_eq!(CommitmentKey::from_bytes([7; 32]).as_bytes(), &[7; 32]);
/// ```
///
/// # Security
///
/// Who holds it can try values against this one commitment, so it is as secret as the value: give it to whom the value
/// may be shown. It opens nothing else.
pub struct CommitmentKey(Zeroizing<[u8; 32]>);

impl CommitmentKey {
    /// The key that was handed over.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes to hand over.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether what the record states is a commitment to this value. Nobody can make it one to two values.
    #[must_use]
    pub fn proves<T: FieldValue>(&self, stated: Stated, value: &T) -> bool {
        let Stated::Commitment(commitment) = stated else { return false };
        let mut encoder = Encoder::new([], value.encoded_len().min(MAX_PLAINTEXT), TAG);
        value.encode(&mut encoder).is_ok() && equal(&commit(&self.0, encoder.plaintext()), &commitment)
    }
}

impl fmt::Debug for CommitmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitmentKey([REDACTED])")
    }
}
