//! From the cells that a transaction changed to what its records say.

use super::{
    Place,
    form::{self, AROUND, ILLEGIBLE, LEFT_OUT, NOTHING, STEP, VALUE, padding},
    open::Side,
};
use crate::{
    access::Sealing,
    audit::{AttemptId, ClassDiff, FieldDiff, MAX_CLASSES, MAX_FIELDS, MAX_SEALED_VALUES, Stated},
    field::{
        ColumnInfo, EncodeError,
        format::{Cipher, Defect, Names, Parts},
        value::{Encoder, Plaintext},
    },
    id::RowId,
    keys::{LedgerKey, commit},
};

/// A cell, opened.
pub(crate) enum Cell {
    Nothing,
    Value(Plaintext),
    Illegible,
}

/// A value's key is newer than those that the door was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyNotYetKnown;

impl Cell {
    /// What stands in a cell of this row. What does not open is illegible: a change may mend it, and its record says so.
    /// But of a good value nothing false is said because the door has not its key yet.
    pub(crate) fn open(
        sealing: &Sealing<'_>,
        column: &ColumnInfo,
        row: RowId,
        bytes: Option<&[u8]>,
    ) -> Result<Self, KeyNotYetKnown> {
        let Some(bytes) = bytes else { return Ok(Self::Nothing) };
        let place = crate::field::format::Place {
            tenant: sealing.tenant,
            subject: sealing.subject,
            names: &Names::new(column.class(), column.table(), column.name()),
            row,
        };
        let opened = Parts::parse(bytes)
            .and_then(|parts| Cipher::opening(&sealing.key, column.class(), &parts)?.open(&place, &parts, Vec::new()));
        match opened {
            Ok(value) => Ok(Self::Value(value)),
            Err(Defect::NotYetKnown) => Err(KeyNotYetKnown),
            Err(_) => Ok(Self::Illegible),
        }
    }

    fn len(&self) -> usize {
        if let Self::Value(value) = self { value.as_bytes().len() } else { 0 }
    }

    fn stated(&self, key: impl FnOnce() -> zeroize::Zeroizing<[u8; 32]>) -> Stated {
        match self {
            Self::Nothing => Stated::Nothing,
            Self::Illegible => Stated::Illegible,
            Self::Value(value) => Stated::Commitment(commit(&key(), value.as_bytes())),
        }
    }

    fn write(&self, fits: bool, out: &mut Encoder) -> Result<(), EncodeError> {
        match self {
            Self::Nothing => out.push(&[NOTHING]),
            Self::Illegible => out.push(&[ILLEGIBLE]),
            Self::Value(_) if !fits => out.push(&[LEFT_OUT]),
            Self::Value(value) => {
                let length = u32::try_from(value.as_bytes().len()).map_err(|_| EncodeError::TooLarge)?;
                out.push(&[VALUE])?;
                out.push(&length.to_be_bytes())?;
                out.push(value.as_bytes())
            }
        }
    }
}

/// A cell before and after the change.
pub(crate) struct ChangedCell {
    pub(crate) column: &'static ColumnInfo,
    pub(crate) before: Cell,
    pub(crate) after: Cell,
    /// Whether the values find room in the record.
    pub(crate) fits: bool,
}

impl ChangedCell {
    pub(crate) fn new(column: &'static ColumnInfo, before: Cell, after: Cell) -> Self {
        Self { column, before, after, fits: false }
    }

    /// Whether a value changed. The same one sealed anew has not.
    pub(crate) fn is_change(&self) -> bool {
        match (&self.before, &self.after) {
            (Cell::Nothing, Cell::Nothing) => false,
            (Cell::Value(before), Cell::Value(after)) => before.as_bytes() != after.as_bytes(),
            _ => true,
        }
    }

    fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    fn key(&self) -> (&'static str, &'static str) {
        (self.column.class(), self.column.name())
    }
}

/// Seals what changed in one row: what each of its records says. Nearly always one; a row of very many columns takes more.
pub(crate) fn seal(
    sealing: &Sealing<'_>,
    attempt: AttemptId,
    table: &str,
    row: RowId,
    mut cells: Vec<ChangedCell>,
) -> Result<Vec<Vec<ClassDiff>>, EncodeError> {
    let place = Place { tenant: sealing.tenant, subject: sealing.subject, attempt, table, row };
    let (suite, epoch, key) = form::sealing(&sealing.key);
    cells.sort_by_key(ChangedCell::key);
    let mut records = Vec::new();
    for cells in chunks(&mut cells) {
        make_room(cells);
        let sections = cells.chunk_by(|a, b| a.column.class() == b.column.class()).map(|cells| {
            let class = cells[0].column.class();
            let fields: Vec<_> = cells.iter().map(|cell| state(&place, &key, cell)).collect();
            let len = cells.iter().map(|cell| if cell.fits { cell.len() + 10 } else { 10 }).sum::<usize>() + STEP;
            let sealed = form::seal((suite, epoch, &key), &place, class, &fields, len, |out| {
                for cell in cells {
                    cell.before.write(cell.fits, out)?;
                    cell.after.write(cell.fits, out)?;
                }
                out.push(&[0; STEP][..padding(out.plaintext().len())])
            })?;
            Ok(ClassDiff { class: class.into(), sealed, fields })
        });
        records.push(sections.collect::<Result<_, _>>()?);
    }
    Ok(records)
}

/// As many fields, of as many classes, as one record states.
fn chunks(mut cells: &mut [ChangedCell]) -> Vec<&mut [ChangedCell]> {
    let mut chunks = Vec::new();
    while !cells.is_empty() {
        let (mut classes, mut length) = (0, 0);
        for (n, cell) in cells.iter().enumerate().take(MAX_FIELDS) {
            classes += usize::from(n == 0 || cells[n - 1].column.class() != cell.column.class());
            if classes > MAX_CLASSES {
                break;
            }
            length = n + 1;
        }
        let (chunk, rest) = cells.split_at_mut(length);
        chunks.push(chunk);
        cells = rest;
    }
    chunks
}

/// Says which values find room in a record: the shortest first, so that one long text does not crowd out the rest. Of the
/// others it says the commitment alone.
fn make_room(cells: &mut [ChangedCell]) {
    let classes = cells.chunk_by(|a, b| a.column.class() == b.column.class()).count();
    let mut room = MAX_SEALED_VALUES - MAX_CLASSES * AROUND - MAX_FIELDS * 10 - classes * (STEP - 1);
    let mut by_length: Vec<&mut ChangedCell> = cells.iter_mut().collect();
    by_length.sort_by_key(|cell| cell.len());
    for cell in by_length {
        match room.checked_sub(cell.len()) {
            Some(left) => (cell.fits, room) = (true, left),
            None => return,
        }
    }
}

fn state(place: &Place<'_>, key: &LedgerKey, cell: &ChangedCell) -> FieldDiff {
    let (class, name) = cell.key();
    let side = |side: Side| move || place.commitment_key(key, class, name, side as u8);
    FieldDiff {
        name: name.into(),
        before: cell.before.stated(side(Side::Before)),
        after: cell.after.stated(side(Side::After)),
    }
}
