//! What is sealed for the ledger: what opens it, and what does not.

use std::sync::Arc;

use super::*;
use crate::{
    access::{Opens, SubjectGrant},
    audit::{AttemptId, ClassDiff, FieldDiff, Kind, MAX_RECORD, Record, Stated, Stream},
    clock::Timestamp,
    codec,
    field::{
        Column, ColumnInfo, Encrypted, FieldValue,
        test_support::{Clinical, Everything, Payroll, chart, chart_at_epoch, clinic, row, subject, tenant},
    },
    keys::SubjectKey,
};

crate::permissions! { pub(crate) ClinicalAlone = "test.clinical" opens Clinical; }
crate::columns! {
    pub(crate) Text: String = "notes"."text" as Clinical;
    pub(crate) Title: String = "notes"."title" as Clinical;
    pub(crate) Fee: i64 = "notes"."fee" as Payroll;
}

const BEFORE: &str = "before-PHI-canary";
const AFTER: &str = "after-PHI-canary, and longer";

fn info<C: Column>() -> &'static ColumnInfo {
    COLUMNS.iter().find(|info| info.name() == C::NAME).unwrap()
}

/// A cell of [`row(1)`](row), sealed and opened again as the database has it.
fn cell<C: Column>(by: &SubjectGrant<Everything>, value: Option<C::Value>) -> Cell
where
    Everything: Opens<C::Class>,
{
    let sealed = value.map(|value| Encrypted::<C>::seal(&value, by, row(1)).unwrap());
    Cell::open(&by.sealing_any().unwrap(), info::<C>(), row(1), sealed.as_ref().map(Encrypted::as_bytes)).unwrap()
}

fn changed<C: Column>(by: &SubjectGrant<Everything>, before: Option<C::Value>, after: Option<C::Value>) -> ChangedCell
where
    Everything: Opens<C::Class>,
{
    ChangedCell::new(info::<C>(), cell::<C>(by, before), cell::<C>(by, after))
}

fn attempt() -> AttemptId {
    AttemptId::from_bytes([5; 16])
}

/// The record as the ledger holds it, read back from its bytes.
fn record(by: &SubjectGrant<Everything>, cells: Vec<ChangedCell>) -> Record {
    let sealing = by.sealing_any().unwrap();
    let mut records = seal(&sealing, attempt(), "notes", row(1), cells).unwrap();
    assert_eq!(records.len(), 1);
    around(by, records.remove(0))
}

fn around(by: &SubjectGrant<Everything>, changes: Vec<ClassDiff>) -> Record {
    let stream = Stream::Tenant(by.tenant().clone());
    let mut record = Record::empty(Kind::Changed, stream, Timestamp::UNIX_EPOCH, std::time::Duration::ZERO);
    record.subjects = vec![by.subject()];
    record.entity = Some("notes".into());
    record.attempt = Some(attempt());
    record.row = Some(row(1));
    record.changes = changes;
    Record::from_bytes(&record.to_bytes()).unwrap()
}

fn ada() -> SubjectGrant<Everything> {
    chart("harbour", 7, 1)
}

/// One of each: a text that changed, one that is new, and a figure of another class that is gone.
fn everything(by: &SubjectGrant<Everything>) -> Record {
    let cells = vec![
        changed::<Text>(by, Some(BEFORE.into()), Some(AFTER.into())),
        changed::<Title>(by, None, Some("a summary".into())),
        changed::<Fee>(by, Some(1_204), None),
    ];
    record(by, cells)
}

fn value<T: FieldValue>(told: Told<T>) -> Option<T> {
    match told {
        Told::Value(value) => Some(value.disclose()),
        Told::Nothing => None,
        other => panic!("neither a value nor none: {}", std::any::type_name_of_val(&other)),
    }
}

type Both<C> = (Option<<C as Column>::Value>, Option<<C as Column>::Value>);

fn both<C: Column, P: Opens<C::Class>>(diff: &RowDiff<P>) -> Option<Both<C>> {
    diff.get::<C>().map(|edit| (value(edit.before), value(edit.after)))
}

// proves CCA-24
// proves CLM-06
#[test]
fn what_was_and_what_became_come_back() {
    let by = ada();
    let record = everything(&by);
    let diff = by.open_diff(&record).unwrap();
    assert_eq!((diff.table(), diff.row()), ("notes", row(1)));
    assert_eq!(both::<Text, _>(&diff), Some((Some(BEFORE.to_owned()), Some(AFTER.to_owned()))));
    assert_eq!(both::<Title, _>(&diff), Some((None, Some("a summary".to_owned()))));
    assert_eq!(both::<Fee, _>(&diff), Some((Some(1_204), None)));
    let named: Vec<_> = record.changes().iter().map(|class| (class.class(), class.fields().len())).collect();
    assert_eq!(named, [("clinical", 2), ("payroll", 1)]);

    let unchanged = by.open_diff(&self::record(&by, vec![changed::<Fee>(&by, Some(1), Some(2))])).unwrap();
    assert!(unchanged.get::<Text>().is_none());
}

/// Without the key, a record tells which fields changed, and nothing of what they held: no value, no hash that a value can be
/// tried against, and not whether it is one that stands elsewhere.
// proves CLM-07
#[test]
fn a_record_tells_nothing_of_a_value() {
    use sha2::{Digest as _, Sha256};
    let by = ada();
    let record = everything(&by);
    let text = String::from_utf8(record.to_bytes()).unwrap();
    assert!(text.contains("\"name\":\"text\"") && text.contains("\"class\":\"payroll\""));
    for canary in [BEFORE.as_bytes(), AFTER.as_bytes(), &1_204_i64.to_be_bytes(), b"a summary".as_slice()] {
        let hash = Sha256::digest(canary);
        let forms = [
            String::from_utf8_lossy(canary).into_owned(),
            codec::base64url(canary),
            codec::hex(canary),
            codec::base64url(&hash),
            codec::hex(&hash),
            codec::base64url(&crate::keys::commit(&[0; 32], canary)),
        ];
        for form in forms {
            assert!(!text.contains(&form), "{form}");
        }
    }
    assert!(!format!("{record:?}").contains("canary") && !format!("{:?}", by.open_diff(&record)).contains("canary"));

    // The same value: before and after, in two columns, two rows, two attempts, for two people.
    let commitments = |record: &Record| -> Vec<[u8; 32]> {
        let fields = record.changes().iter().flat_map(ClassDiff::fields);
        let stated = fields.flat_map(|field| [field.before(), field.after()]);
        stated.filter_map(|s| if let Stated::Commitment(c) = s { Some(c) } else { None }).collect()
    };
    let same = |by: &SubjectGrant<Everything>| {
        let value = || Some("same".to_owned());
        vec![changed::<Text>(by, value(), value()), changed::<Title>(by, value(), value())]
    };
    let seal_as = |by: &SubjectGrant<Everything>, attempt: u8, n: u8| {
        let attempt = AttemptId::from_bytes([attempt; 16]);
        let sealed = seal(&by.sealing_any().unwrap(), attempt, "notes", row(n), same(by)).unwrap();
        commitments(&around(by, sealed.into_iter().next().unwrap()))
    };
    let all: Vec<_> = [seal_as(&by, 1, 1), seal_as(&by, 1, 2), seal_as(&by, 2, 1)].concat();
    assert_eq!(all.len(), 12);
    assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 12);
    let eves = seal_as(&chart("harbour", 8, 2), 1, 1);
    assert!(eves.len() == 4 && eves.iter().all(|commitment| !all.contains(commitment)));
}

fn edited(record: &Record, edit: impl FnOnce(&mut Record)) -> Record {
    let mut record = record.clone();
    edit(&mut record);
    // What an attacker writes has to be a record.
    Record::from_bytes(&record.to_bytes()).unwrap()
}

#[test]
fn what_was_moved_or_edited_does_not_open() {
    let by = ada();
    let good = everything(&by);
    let second = record(&by, vec![changed::<Text>(&by, Some("x".into()), Some("y".into()))]);
    let other_attempt = edited(&good, |r| r.attempt = Some(AttemptId::from_bytes([6; 16])));
    let rows: Vec<(&str, Record, DiffError)> = vec![
        ("of another attempt", other_attempt, DiffError::NotOpened),
        ("of another row", edited(&good, |r| r.row = Some(row(2))), DiffError::NotOpened),
        ("of another table", edited(&good, |r| r.entity = Some("letters".into())), DiffError::NotOpened),
        ("under another name", edited(&good, |r| r.changes[0].fields[0].name = "summary".into()), DiffError::NotOpened),
        ("a field less", edited(&good, |r| drop(r.changes[0].fields.pop())), DiffError::NotOpened),
        (
            "a field more",
            edited(&good, |r| {
                let more = FieldDiff { name: "zip".into(), before: Stated::Illegible, after: Stated::Nothing };
                r.changes[0].fields.push(more);
            }),
            DiffError::NotOpened,
        ),
        (
            "before and after exchanged",
            edited(&good, |r| {
                let field = &mut r.changes[0].fields[0];
                std::mem::swap(&mut field.before, &mut field.after);
            }),
            DiffError::NotOpened,
        ),
        (
            "another commitment",
            edited(&good, |r| r.changes[0].fields[0].before = Stated::Commitment([1; 32])),
            DiffError::NotOpened,
        ),
        (
            "a commitment taken away",
            edited(&good, |r| r.changes[0].fields[0].before = Stated::Nothing),
            DiffError::NotOpened,
        ),
        (
            "called illegible",
            edited(&good, |r| r.changes[0].fields[0].before = Stated::Illegible),
            DiffError::NotOpened,
        ),
        (
            "the values of another record",
            edited(&good, |r| r.changes[0].sealed = second.changes[0].sealed.clone()),
            DiffError::NotOpened,
        ),
        (
            "the values of another class",
            edited(&good, |r| {
                let (a, b) = r.changes.split_at_mut(1);
                std::mem::swap(&mut a[0].sealed, &mut b[0].sealed);
            }),
            DiffError::NotOpened,
        ),
        ("no values", edited(&good, |r| r.changes[0].sealed = [1].into()), DiffError::NotOpened),
        (
            "a value of the column itself",
            edited(&good, |r| {
                let sealed = Encrypted::<Text>::seal(&BEFORE.to_owned(), &by, row(1)).unwrap();
                r.changes[0].sealed = sealed.as_bytes().into();
            }),
            DiffError::NotOpened,
        ),
        ("of another person", edited(&good, |r| r.subjects = vec![subject(8)]), DiffError::Elsewhere),
        ("of one person more", edited(&good, |r| r.subjects.push(subject(8))), DiffError::Elsewhere),
        ("of nobody", edited(&good, |r| r.subjects.clear()), DiffError::Elsewhere),
        ("of another clinic", edited(&good, |r| r.stream = Stream::Tenant(tenant("meadow"))), DiffError::Elsewhere),
        ("of no clinic", edited(&good, |r| r.stream = Stream::Platform), DiffError::Elsewhere),
        ("of another kind", edited(&good, |r| (r.kind, r.changes) = (Kind::Attempt, Vec::new())), DiffError::NoValues),
        ("without its attempt", edited(&good, |r| r.attempt = None), DiffError::NoValues),
        ("without its row", edited(&good, |r| r.row = None), DiffError::NoValues),
    ];
    assert!(by.open_diff(&good).is_ok());
    for (name, record, error) in rows {
        assert_eq!(by.open_diff(&record).map(|_| ()), Err(error), "{name}");
    }
    for bit in 0..good.changes[0].sealed.len() * 8 {
        let mut flipped = good.clone();
        flipped.changes[0].sealed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(by.open_diff(&flipped).map(|_| ()), Err(DiffError::NotOpened), "bit {bit}");
    }
}

/// Doors of others, to which the record is made to look like theirs.
#[test]
fn another_door_opens_nothing() {
    let good = everything(&ada());
    let to = |n: u8, clinic: &str| {
        edited(&good, |r| {
            r.subjects = vec![subject(n)];
            r.stream = Stream::Tenant(tenant(clinic));
        })
    };
    let rows: Vec<(&str, SubjectGrant<Everything>, Record)> = vec![
        ("another person's, under the very key", chart("harbour", 8, 1), to(8, "harbour")),
        ("another clinic's, under the very key", chart("meadow", 7, 1), to(7, "meadow")),
        ("another key", chart("harbour", 7, 2), good.clone()),
        ("the key in another epoch", chart_at_epoch("harbour", 7, 1, 2), good.clone()),
    ];
    for (name, door, record) in rows {
        assert_eq!(door.open_diff(&record).map(|_| ()), Err(DiffError::NotOpened), "{name}");
    }
    let clinics = edited(&good, |r| r.subjects.clear());
    assert_eq!(clinic("harbour", 1).open_diff(&clinics).map(|_| ()), Err(DiffError::NotOpened), "the clinic's own");
    assert_eq!(clinic("harbour", 1).open_diff(&good).map(|_| ()), Err(DiffError::Elsewhere));
}

/// The classes that a permission does not open stay shut, also if the record calls them otherwise.
#[test]
fn a_permission_opens_its_classes_and_no_others() {
    let by = ada();
    let good = everything(&by);
    let key = SubjectKey::for_test(subject(7), 1, [1; 32]);
    let narrow = SubjectGrant::<ClinicalAlone>::for_test(tenant("harbour"), subject(7), Arc::new(key));
    let diff = narrow.open_diff(&good).unwrap();
    assert_eq!(both::<Text, _>(&diff), Some((Some(BEFORE.to_owned()), Some(AFTER.to_owned()))));
    assert_eq!(diff.opened_classes(), ["clinical"], "what payroll knows was not even opened");

    // Payroll's values, under the name that this door opens.
    let dressed = edited(&good, |r| {
        r.changes.remove(0);
        r.changes[0].class = "clinical".into();
    });
    assert_eq!(narrow.open_diff(&dressed).map(|_| ()), Err(DiffError::NotOpened));
    let alone = edited(&good, |r| drop(r.changes.remove(0)));
    assert_eq!(narrow.open_diff(&alone).unwrap().opened_classes(), [""; 0]);
}

#[test]
fn nothing_opens_once_the_request_has_ended() {
    let by = ada();
    let good = everything(&by);
    by.end_request();
    assert!(matches!(by.open_diff(&good), Err(DiffError::Closed(_))));
}

/// Somebody who has the record and one key sees that it was this value, and nothing else.
// proves CLM-07
#[test]
fn one_value_can_be_proved_without_the_persons_key() {
    let by = ada();
    let record = everything(&by);
    let diff = by.open_diff(&record).unwrap();
    let text = &record.changes()[0].fields()[0];
    let key = diff.commitment_key::<Text>(Side::Before).unwrap();
    let key = CommitmentKey::from_bytes(*key.as_bytes());
    assert!(key.proves(text.before(), &BEFORE.to_owned()));
    for (name, stated, value) in [
        ("another value", text.before(), AFTER),
        ("its beginning", text.before(), &BEFORE[..5]),
        ("nothing", text.before(), ""),
        ("the other side, of its own value", text.after(), AFTER),
        ("the other side", text.after(), BEFORE),
        ("what was not there", Stated::Nothing, BEFORE),
        ("what nobody could read", Stated::Illegible, BEFORE),
    ] {
        assert!(!key.proves(stated, &value.to_owned()), "{name}");
    }
    assert!(diff.commitment_key::<Title>(Side::Before).is_none(), "there was none");
    assert!(diff.commitment_key::<Title>(Side::After).is_some());
    let keys = [Side::Before, Side::After].map(|side| *diff.commitment_key::<Text>(side).unwrap().as_bytes());
    assert_ne!(keys[0], keys[1]);
    assert_eq!(format!("{key:?}"), "CommitmentKey([REDACTED])");
}

/// A long text does not crowd out the short ones, and can still be proved.
#[test]
fn what_finds_no_room_is_committed_to_alone() {
    let by = ada();
    let long = |letter: &str, length: usize| Some(letter.repeat(length));
    let rows = [("fits", 9_000, true), ("does not", 10_001, false), ("is as long as a value can be", 1 << 20, false)];
    for (name, length, fits) in rows {
        let cells = vec![
            changed::<Text>(&by, long("a", length), long("b", length)),
            changed::<Title>(&by, Some("short".into()), None),
        ];
        let record = record(&by, cells);
        assert!(record.to_bytes().len() < MAX_RECORD, "{name}");
        let diff = by.open_diff(&record).unwrap();
        assert_eq!(both::<Title, _>(&diff), Some((Some("short".to_owned()), None)), "{name}");
        let text = diff.get::<Text>().unwrap();
        if fits {
            assert_eq!((value(text.before), value(text.after)), (long("a", length), long("b", length)), "{name}");
        } else {
            assert!(matches!((text.before, text.after), (Told::LeftOut, Told::LeftOut)), "{name}");
        }
        let key = diff.commitment_key::<Text>(Side::After).unwrap();
        assert!(key.proves(record.changes()[0].fields()[0].after(), &"b".repeat(length)), "{name}");
    }
}

#[test]
fn what_is_no_value_of_its_cell_is_called_illegible() {
    let by = ada();
    let sealing = by.sealing_any().unwrap();
    let elsewhere = Encrypted::<Text>::seal(&BEFORE.to_owned(), &by, row(2)).unwrap();
    for (name, bytes) in [("plain text", &b"in clear"[..]), ("another row's", elsewhere.as_bytes()), ("empty", b"")] {
        let broken = ChangedCell::new(
            info::<Text>(),
            Cell::open(&sealing, info::<Text>(), row(1), Some(bytes)).unwrap(),
            cell::<Text>(&by, Some(AFTER.into())),
        );
        let record = record(&by, vec![broken]);
        assert_eq!(record.changes()[0].fields()[0].before(), Stated::Illegible, "{name}");
        let edit = by.open_diff(&record).unwrap().get::<Text>().unwrap();
        assert!(matches!(edit.before, Told::Illegible), "{name}");
        assert_eq!(value(edit.after).as_deref(), Some(AFTER), "{name}");
    }
}

/// A good value under a key that came after the door was opened: nothing is said of it, least of all that it is damaged.
#[test]
fn a_value_whose_key_is_not_yet_known_is_not_called_illegible() {
    let sealed = Encrypted::<Text>::seal(&BEFORE.to_owned(), &chart_at_epoch("harbour", 7, 1, 2), row(1)).unwrap();
    let by = ada();
    let sealing = by.sealing_any().unwrap();
    let open = |bytes: &[u8]| Cell::open(&sealing, info::<Text>(), row(1), Some(bytes)).err();
    assert_eq!(open(sealed.as_bytes()), Some(super::seal::KeyNotYetKnown));
    // Of a key that is gone, and of another place's, it is.
    assert_eq!(open(b"in clear"), None);
}

/// A row of very many columns takes more than one record, each of which opens by itself.
#[test]
fn a_wide_row_takes_more_records() {
    mod wide {
        use super::Clinical;
        crate::columns! {
            pub(crate) C00: String = "wide"."c00" as Clinical;
            pub(crate) C01: String = "wide"."c01" as Clinical;
            pub(crate) C02: String = "wide"."c02" as Clinical;
            pub(crate) C03: String = "wide"."c03" as Clinical;
            pub(crate) C04: String = "wide"."c04" as Clinical;
            pub(crate) C05: String = "wide"."c05" as Clinical;
            pub(crate) C06: String = "wide"."c06" as Clinical;
            pub(crate) C07: String = "wide"."c07" as Clinical;
            pub(crate) C08: String = "wide"."c08" as Clinical;
            pub(crate) C09: String = "wide"."c09" as Clinical;
            pub(crate) C10: String = "wide"."c10" as Clinical;
            pub(crate) C11: String = "wide"."c11" as Clinical;
            pub(crate) C12: String = "wide"."c12" as Clinical;
            pub(crate) C13: String = "wide"."c13" as Clinical;
            pub(crate) C14: String = "wide"."c14" as Clinical;
            pub(crate) C15: String = "wide"."c15" as Clinical;
            pub(crate) C16: String = "wide"."c16" as Clinical;
            pub(crate) C17: String = "wide"."c17" as Clinical;
            pub(crate) C18: String = "wide"."c18" as Clinical;
            pub(crate) C19: String = "wide"."c19" as Clinical;
            pub(crate) C20: String = "wide"."c20" as Clinical;
            pub(crate) C21: String = "wide"."c21" as Clinical;
            pub(crate) C22: String = "wide"."c22" as Clinical;
            pub(crate) C23: String = "wide"."c23" as Clinical;
            pub(crate) C24: String = "wide"."c24" as Clinical;
            pub(crate) C25: String = "wide"."c25" as Clinical;
            pub(crate) C26: String = "wide"."c26" as Clinical;
            pub(crate) C27: String = "wide"."c27" as Clinical;
            pub(crate) C28: String = "wide"."c28" as Clinical;
            pub(crate) C29: String = "wide"."c29" as Clinical;
            pub(crate) C30: String = "wide"."c30" as Clinical;
            pub(crate) C31: String = "wide"."c31" as Clinical;
            pub(crate) C32: String = "wide"."c32" as Clinical;
            pub(crate) C33: String = "wide"."c33" as Clinical;
            pub(crate) C34: String = "wide"."c34" as Clinical;
            pub(crate) C35: String = "wide"."c35" as Clinical;
            pub(crate) C36: String = "wide"."c36" as Clinical;
            pub(crate) C37: String = "wide"."c37" as Clinical;
            pub(crate) C38: String = "wide"."c38" as Clinical;
            pub(crate) C39: String = "wide"."c39" as Clinical;
            pub(crate) C40: String = "wide"."c40" as Clinical;
            pub(crate) C41: String = "wide"."c41" as Clinical;
            pub(crate) C42: String = "wide"."c42" as Clinical;
            pub(crate) C43: String = "wide"."c43" as Clinical;
            pub(crate) C44: String = "wide"."c44" as Clinical;
            pub(crate) C45: String = "wide"."c45" as Clinical;
            pub(crate) C46: String = "wide"."c46" as Clinical;
            pub(crate) C47: String = "wide"."c47" as Clinical;
            pub(crate) C48: String = "wide"."c48" as Clinical;
            pub(crate) C49: String = "wide"."c49" as Clinical;
            pub(crate) C50: String = "wide"."c50" as Clinical;
            pub(crate) C51: String = "wide"."c51" as Clinical;
            pub(crate) C52: String = "wide"."c52" as Clinical;
            pub(crate) C53: String = "wide"."c53" as Clinical;
            pub(crate) C54: String = "wide"."c54" as Clinical;
            pub(crate) C55: String = "wide"."c55" as Clinical;
            pub(crate) C56: String = "wide"."c56" as Clinical;
            pub(crate) C57: String = "wide"."c57" as Clinical;
            pub(crate) C58: String = "wide"."c58" as Clinical;
            pub(crate) C59: String = "wide"."c59" as Clinical;
        }
    }
    let by = ada();
    let sealing = by.sealing_any().unwrap();
    let cell = |info: &'static ColumnInfo| {
        ChangedCell::new(info, Cell::Nothing, Cell::Value(crate::field::Plaintext::new(info.name().into())))
    };
    let cells = wide::COLUMNS.iter().map(cell).collect();
    let records = seal(&sealing, attempt(), "wide", row(1), cells).unwrap();
    let counts: Vec<_> = records.iter().map(|classes| classes[0].fields.len()).collect();
    assert_eq!(counts, [48, 12]);
    let wide = |changes| edited(&around(&by, changes), |r| r.entity = Some("wide".into()));
    for (changes, first, other) in [(records[0].clone(), true, false), (records[1].clone(), false, true)] {
        let diff = by.open_diff(&wide(changes)).unwrap();
        assert_eq!((diff.get::<wide::C00>().is_some(), diff.get::<wide::C59>().is_some()), (first, other));
    }
    // The values of the one in the other.
    let mut mixed = records[0].clone();
    mixed[0].sealed = records[1][0].sealed.clone();
    assert!(by.open_diff(&wide(mixed)).is_err());
}

/// Rows that belong to no person are sealed under their clinic's key.
#[test]
fn a_clinics_rows_are_sealed_under_its_own_key() {
    let by = clinic("harbour", 1);
    let sealing = by.sealing_any().unwrap();
    let fee = |value: i64| {
        let sealed = Encrypted::<Fee>::seal(&value, &by, row(1)).unwrap();
        Cell::open(&sealing, info::<Fee>(), row(1), Some(sealed.as_bytes())).unwrap()
    };
    let cells = vec![ChangedCell::new(info::<Fee>(), fee(1), fee(2))];
    let changes = seal(&sealing, attempt(), "notes", row(1), cells).unwrap().remove(0);
    assert_eq!(changes[0].sealed()[1], 2, "the suite of keys whose use is unbounded");
    let record = edited(&around(&ada(), changes), |r| r.subjects.clear());
    assert_eq!(both::<Fee, _>(&by.open_diff(&record).unwrap()), Some((Some(1), Some(2))));
    for (name, other) in [("another clinic", clinic("meadow", 1)), ("another key", clinic("harbour", 2))] {
        let record = edited(&record, |r| r.stream = Stream::Tenant(other.tenant().clone()));
        assert_eq!(other.open_diff(&record).map(|_| ()), Err(DiffError::NotOpened), "{name}");
    }
}

/// A record is never sealed anew: it opens after its key was retired, as long as the person is there.
#[test]
fn a_record_outlives_the_key_that_sealed_it() {
    let record = everything(&ada());
    let grant = |key| SubjectGrant::<Everything>::for_test(tenant("harbour"), subject(7), Arc::new(key));
    let retired = SubjectKey::for_test(subject(7), 1, [1; 32]).retired_for_test(2, [9; 32]);
    let diff = grant(retired).open_diff(&record).map(|diff| both::<Fee, _>(&diff));
    assert_eq!(diff, Ok(Some((Some(1_204), None))));
    let without = SubjectKey::for_test(subject(7), 2, [9; 32]);
    assert_eq!(grant(without).open_diff(&record).map(|_| ()), Err(DiffError::NotOpened));
    // What is kept opens no value.
    let sealed = Encrypted::<Text>::seal(&BEFORE.to_owned(), &ada(), row(1)).unwrap();
    let retired = SubjectKey::for_test(subject(7), 1, [1; 32]).retired_for_test(2, [9; 32]);
    assert!(sealed.open(&grant(retired), row(1)).is_err());
}

/// attack: whoever reads the ledger without a key takes the length of what is sealed for the value.
#[test]
fn the_length_of_what_is_sealed_tells_no_short_value() {
    let by = ada();
    let length = |before: Option<&str>, after: Option<&str>| {
        let cells = vec![changed::<Text>(&by, before.map(str::to_owned), after.map(str::to_owned))];
        let record = record(&by, cells);
        let read = both::<Text, _>(&by.open_diff(&record).unwrap());
        assert_eq!(read, Some((before.map(str::to_owned), after.map(str::to_owned))));
        record.changes()[0].sealed().len()
    };
    let step = "x".repeat(246);
    let lengths = [
        length(None, Some("no")),
        length(Some("yes"), None),
        length(Some("yes"), Some("no")),
        length(Some(&step), Some("")),
    ];
    assert_eq!(lengths, [6 + 12 + 256 + 16; 4]);
    assert_eq!(length(Some(&step), Some("x")), 6 + 12 + 512 + 16, "one byte more takes the next step");
}

/// Behind the values stand the zeros that they need: nothing else can be hidden there.
#[test]
fn what_stands_behind_the_values_is_zeros_and_no_more_than_needed() {
    let by = ada();
    let sealing = by.sealing_any().unwrap();
    let good = record(&by, vec![changed::<Text>(&by, None, Some(AFTER.to_owned()))]);
    let fields = good.changes[0].fields.clone();
    let place =
        Place { tenant: sealing.tenant, subject: sealing.subject, attempt: attempt(), table: "notes", row: row(1) };
    let (suite, epoch, key) = form::sealing(&sealing.key);
    let value: &[&[u8]] =
        &[&[form::NOTHING, form::VALUE], &u32::try_from(AFTER.len()).unwrap().to_be_bytes(), AFTER.as_bytes()];
    let value = value.concat();
    let zeros = form::padding(value.len());
    let rows = [
        ("as it is made", vec![0; zeros], true),
        ("none", vec![], false),
        ("one less", vec![0; zeros - 1], false),
        ("a step more", vec![0; zeros + form::STEP], false),
        ("something else at the end", [vec![0; zeros - 1], vec![1]].concat(), false),
        ("something else at the beginning", [vec![1], vec![0; zeros - 1]].concat(), false),
    ];
    for (name, behind, opens) in rows {
        let sealed = form::seal((suite, epoch, &key), &place, "clinical", &fields, 512, |out| {
            out.push(&value)?;
            out.push(&behind)
        });
        let record = edited(&good, |r| r.changes[0].sealed = sealed.unwrap());
        assert_eq!(by.open_diff(&record).is_ok(), opens, "{name}");
    }
}

#[test]
fn each_seal_has_an_iv_of_its_own() {
    let by = ada();
    let ivs: std::collections::HashSet<_> =
        (0..200).flat_map(|_| everything(&by).changes).map(|class| class.sealed[6..18].to_vec()).collect();
    assert_eq!(ivs.len(), 400);
}
