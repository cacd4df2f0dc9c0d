mod readers;

use std::{collections::HashSet, fmt::Debug};

use jiff::{Timestamp, civil::Date};
use proptest::prelude::*;

use super::{
    format::Defect,
    test_support::{Clinical, Everything, Payroll, chart, chart_at_epoch, clinic, row, subject, tenant},
    *,
};
use crate::{
    access::{Closed, Opener, SubjectGrant},
    keys::SubjectKey,
};

crate::columns! {
    pub(crate) NoteText: String = "notes"."text" as Clinical;
    pub(crate) NoteTitle: String = "notes"."title" as Clinical;
    pub(crate) Iban: String = "employees"."iban" as Payroll, indexed;
    pub(crate) SortCode: String = "employees"."sort_code" as Payroll, indexed;
    pub(crate) Scan: Vec<u8> = "letters"."scan" as Clinical;
    pub(crate) Weight: i64 = "visits"."grams" as Clinical;
    pub(crate) Pregnant: bool = "visits"."pregnant" as Clinical;
    pub(crate) Born: Date = "patients"."born" as Clinical, indexed;
    pub(crate) SeenAt: Timestamp = "visits"."seen_at" as Clinical;
    pub(crate) Allergies: Json<Vec<String>> = "patients"."allergies" as Clinical;
}

/// The same place with another class: what a careless edit of `columns!` would leave behind.
mod reclassed {
    use super::*;
    crate::columns! { pub(crate) NoteText: String = "notes"."text" as Payroll; }
}

/// The same place with another type.
mod retyped {
    use super::*;
    crate::columns! { pub(crate) NoteText: Vec<u8> = "notes"."text" as Clinical; }
}

const CANARY: &str = "canary-7f3a9c-headache-since-tuesday";

fn sealed(text: &str, grant: &impl Opener<Clinical>) -> Encrypted<NoteText> {
    Encrypted::seal(&text.to_owned(), grant, row(1)).unwrap()
}

/// Opens bytes as column `C` and gives the defect.
fn defect<C: Column>(bytes: &[u8], grant: &impl Opener<C::Class>, at: u8) -> Option<Defect> {
    Encrypted::<C>::from_bytes(bytes).open_under(grant.sealing(), row(at)).err()
}

#[test]
fn what_was_sealed_opens_for_the_same_person_row_and_column() {
    let chart = chart("clinic-a", 1, 1);
    let note = sealed(CANARY, &chart);
    assert_eq!(note.open(&chart, row(1)).unwrap().disclose(), CANARY);
    assert_eq!((note.as_bytes()[..2].to_vec(), note.as_bytes().len()), (vec![1, 1], 34 + CANARY.len()));
}

#[test]
fn the_kind_of_key_decides_the_suite() {
    let (chart, clinic) = (chart("clinic-a", 1, 1), clinic("clinic-a", 1));
    assert_eq!(sealed("x", &chart).as_bytes()[1], 1);
    let of_no_person = sealed("x", &clinic);
    assert_eq!((of_no_person.as_bytes()[1], of_no_person.as_bytes().len()), (2, 47));
    assert_eq!(of_no_person.open(&clinic, row(1)).unwrap().disclose(), "x");
}

// Every attack below begins with the same value, and with keys that are the same wherever the attacker could have them be so:
// what refuses is the associated data alone.

// attack: the ciphertext is copied to another row of the same person.
// proves CLA-10
#[test]
fn a_value_copied_to_another_row_does_not_open() {
    let chart = chart("clinic-a", 1, 1);
    assert_eq!(defect::<NoteText>(sealed(CANARY, &chart).as_bytes(), &chart, 2), Some(Defect::NotAuthentic));
}

// attack: the ciphertext is copied to another column of the same row.
#[test]
fn a_value_copied_to_another_column_does_not_open() {
    let chart = chart("clinic-a", 1, 1);
    assert_eq!(defect::<NoteTitle>(sealed(CANARY, &chart).as_bytes(), &chart, 1), Some(Defect::NotAuthentic));
}

// attack: the column is given a class that more roles may open.
#[test]
fn a_value_sealed_as_one_class_does_not_open_as_another() {
    let chart = chart("clinic-a", 1, 1);
    let bytes = sealed(CANARY, &chart);
    assert_eq!(defect::<reclassed::NoteText>(bytes.as_bytes(), &chart, 1), Some(Defect::NotAuthentic));
}

// attack: a patient's note is copied into one's own chart, to be read there.
#[test]
fn a_value_copied_to_another_patient_does_not_open() {
    let bytes = sealed(CANARY, &chart("clinic-a", 1, 1));
    // Once with the other patient's own key, once as if both had been given the same one.
    for root in [2, 1] {
        let other = chart("clinic-a", 2, root);
        assert_eq!(defect::<NoteText>(bytes.as_bytes(), &other, 1), Some(Defect::NotAuthentic), "root {root}");
    }
}

// attack: a row is moved to a clinic that the attacker works for.
#[test]
fn a_value_copied_to_another_clinic_does_not_open() {
    let bytes = sealed(CANARY, &chart("clinic-a", 1, 1));
    assert_eq!(defect::<NoteText>(bytes.as_bytes(), &chart("clinic-b", 1, 1), 1), Some(Defect::NotAuthentic));
    let bytes = sealed(CANARY, &clinic("clinic-a", 1));
    assert_eq!(defect::<NoteText>(bytes.as_bytes(), &clinic("clinic-b", 1), 1), Some(Defect::NotAuthentic));
}

// attack: a person's value is presented as the clinic's, and the other way round.
#[test]
fn a_value_of_a_person_and_a_value_of_the_clinic_do_not_open_as_each_other() {
    let (chart, clinic) = (chart("clinic-a", 1, 1), clinic("clinic-a", 1));
    assert_eq!(defect::<NoteText>(sealed(CANARY, &chart).as_bytes(), &clinic, 1), Some(Defect::WrongSuite));
    assert_eq!(defect::<NoteText>(sealed(CANARY, &clinic).as_bytes(), &chart, 1), Some(Defect::WrongSuite));
}

// attack: the header is edited to name an epoch whose key is known.
#[test]
fn a_value_of_another_epoch_does_not_open_whatever_its_header_says() {
    let (old, new) = (chart_at_epoch("clinic-a", 1, 1, 1), chart_at_epoch("clinic-a", 1, 1, 2));
    let mut bytes = sealed(CANARY, &old).as_bytes().to_vec();
    assert_eq!(defect::<NoteText>(&bytes, &new, 1), Some(Defect::WrongEpoch));
    bytes[5] = 2;
    assert_eq!(defect::<NoteText>(&bytes, &new, 1), Some(Defect::NotAuthentic));
    bytes[5] = 3;
    assert_eq!(defect::<NoteText>(&bytes, &new, 1), Some(Defect::NotYetKnown));
}

// attack: plaintext stands in the column, from before it was sealed or written past the crate.
#[test]
fn plaintext_in_the_column_does_not_open() {
    let chart = chart("clinic-a", 1, 1);
    for bytes in [&b""[..], CANARY.as_bytes(), b"{\"note\":\"a text that is longer than any header is\"}"] {
        assert!(defect::<NoteText>(bytes, &chart, 1).is_some());
    }
}

// attack: a task keeps its grant and goes on after the request has ended.
#[test]
fn nothing_is_sealed_or_opened_once_the_request_has_ended() {
    let kept = chart("clinic-a", 1, 1);
    let note = sealed(CANARY, &kept);
    assert!(note.open(&kept, row(1)).is_ok(), "while the request goes on");
    kept.end_request();
    let error = Encrypted::<NoteText>::seal(&CANARY.to_owned(), &kept, row(1)).unwrap_err();
    assert_eq!(error.kind(), SealErrorKind::Closed(Closed));
    assert!(note.open(&kept, row(1)).is_err());
    // The reason that the trace gives.
    assert_eq!(note.open_under(Err(Closed), row(1)).err(), Some(Defect::Closed));

    let chart = chart("clinic-a", 1, 1);
    let sealed = Encrypted::<NoteText>::seal(&CANARY.to_owned(), &chart, row(1)).unwrap();
    assert!(sealed.open(&chart, row(1)).is_ok());
    chart.end_request();
    assert!(sealed.open(&chart, row(1)).is_err());
    let error = Encrypted::<NoteText>::seal(&CANARY.to_owned(), &chart, row(1)).unwrap_err();
    assert_eq!(error.kind(), SealErrorKind::Closed(Closed));
}

// attack: the wording of an error tells whether a guess was warm.
#[test]
fn all_failures_to_open_look_the_same() {
    let home = chart("clinic-a", 1, 1);
    let good = sealed(CANARY, &home).as_bytes().to_vec();
    let mut looks = HashSet::new();
    let mut look = |bytes: Vec<u8>, grant: &SubjectGrant<Everything>, at| {
        let error = Encrypted::<NoteText>::from_bytes(bytes).open(grant, row(at)).unwrap_err();
        looks.insert(format!("{error} | {error:?} | {error:#?} | {:?}", std::error::Error::source(&error).is_none()));
    };
    look(Vec::new(), &home, 1);
    look([&[2], &good[1..]].concat(), &home, 1);
    look([&[1, 3], &good[2..]].concat(), &home, 1);
    look([&[1, 2], &good[2..]].concat(), &home, 1);
    look(good.clone(), &chart_at_epoch("clinic-a", 1, 1, 2), 1);
    look(good.clone(), &chart("clinic-a", 2, 2), 1);
    look(good.clone(), &home, 2);
    let latin1 = Encrypted::<retyped::NoteText>::seal(&vec![0xc6, 0x72, 0xf8], &home, row(1)).unwrap();
    assert_eq!(defect::<NoteText>(latin1.as_bytes(), &home, 1), Some(Defect::NotCanonical));
    look(latin1.as_bytes().to_vec(), &home, 1);
    look(vec![1; 2 << 20], &home, 1);
    assert_eq!(looks.len(), 1, "{looks:?}");
}

// proves CLM-04: no `Debug`, `Display` or error of this module says what was sealed or opened.
#[test]
fn a_canary_is_in_no_output_of_any_type() {
    let (chart, clinic) = (chart("clinic-a", 1, 1), clinic("clinic-a", 1));
    let mut out = Vec::new();
    fn both(value: &impl Debug) -> String {
        format!("{value:?} {value:#?}")
    }
    fn error(error: &dyn std::error::Error) -> String {
        let mut text = both(&error);
        let mut next = Some(error);
        while let Some(error) = next {
            text += &error.to_string();
            next = error.source();
        }
        text
    }
    let note = sealed(CANARY, &chart);
    out.push(both(&note));
    out.push(both(&note.open(&chart, row(1)).unwrap()));
    out.push(serde_json::to_string(&note).unwrap());
    out.push(both(&Encrypted::<Scan>::seal(&CANARY.into(), &chart, row(1)).unwrap().open(&chart, row(1)).unwrap()));
    out.push(both(&Json::new(CANARY.to_owned())));
    out.push(both(&Json::new(vec![CANARY.to_owned()])));
    out.push(both(&BlindIndex::<Iban>::of(&CANARY.to_owned(), &clinic).unwrap()));
    out.push(error(&BlindIndex::<Iban>::of(&CANARY.repeat(99), &clinic).unwrap_err()));
    out.push(error(&Encrypted::<NoteText>::seal(&CANARY.repeat(1 << 15), &chart, row(1)).unwrap_err()));
    out.push(error(&Encrypted::<NoteText>::from_bytes(CANARY.as_bytes()).open(&chart, row(1)).unwrap_err()));
    out.push(error(&sealed(CANARY, &chart).open(&chart, row(2)).unwrap_err()));
    out.push(error(&serde_json::from_str::<Encrypted<NoteText>>(&format!("\"{CANARY}!\"")).unwrap_err()));
    let plain = || Plaintext::new(CANARY.as_bytes().to_vec());
    out.push(both(&plain()));
    out.push(error(&i64::decode(plain()).unwrap_err()));
    out.push(error(&Date::decode(plain()).unwrap_err()));
    out.push(error(&<Json<Vec<String>>>::decode(plain()).unwrap_err()));
    out.push(error(&String::decode(Plaintext::new([CANARY.as_bytes(), &[0xff]].concat())).unwrap_err()));
    let mut encoder = Encoder::new([], 0, 0);
    CANARY.to_owned().encode(&mut encoder).unwrap();
    out.push(both(&encoder));
    out.push(both(&COLUMNS));
    out.push(error(&check_columns(&[COLUMNS, COLUMNS]).unwrap_err()));

    let hex = hex::encode(CANARY);
    let list = format!("{:?}", CANARY.as_bytes());
    let base64 = crate::codec::base64url(CANARY.as_bytes());
    for text in &out {
        assert!(!text.is_empty());
        for form in [CANARY, "headache", &hex, &base64, &list[1..20]] {
            assert!(!text.contains(form), "{form} in {text}");
        }
    }
    assert!(!note.as_bytes().windows(8).any(|window| window == &CANARY.as_bytes()[..8]));
}

// proves CLM-04: the operator's trace has the place and the reason, and nothing of the value or the person.
#[cfg(feature = "tracing")]
#[test]
fn a_failure_to_open_is_traced_with_its_place_and_reason_and_nothing_else() {
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), || {
        let chart = chart("clinic-a", 1, 1);
        let note = sealed(CANARY, &chart);
        drop(note.open(&chart, row(1)).unwrap());
        note.open(&chart, row(2)).unwrap_err();
    });
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in ["WARN", "notes", "text", "not_authentic"] {
        assert!(text.contains(part), "{part} not in {text}");
    }
    for part in ["canary", "clinic-a", "0101", "0202"] {
        assert!(!text.contains(part), "{part} in {text}");
    }
}

// proves CLM-03: the IV is new for each seal call, not for each record; 12 bytes; a million in the long run.
#[test]
fn no_two_seals_share_an_iv() {
    let long = std::env::var("TOWER_WARD_LONG").is_ok_and(|what| what == "field");
    let count = if long { 1_000_000 } else { 100_000 };
    let chart = chart("clinic-a", 1, 1);
    let value = "same".to_owned();
    let mut seen = HashSet::with_capacity(count);
    while seen.len() < count {
        // Two fields of one record, as a pay slip has them.
        let iban = Encrypted::<Iban>::seal(&value, &chart, row(1)).unwrap();
        let sort_code = Encrypted::<SortCode>::seal(&value, &chart, row(1)).unwrap();
        for bytes in [iban.as_bytes(), sort_code.as_bytes()] {
            let iv: [u8; 12] = bytes[6..18].try_into().unwrap();
            assert_eq!(bytes.len(), 6 + 12 + value.len() + 16);
            assert!(seen.insert(iv), "an IV came twice within {count}");
        }
    }
}

/// Where a value is sealed, or is tried to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    tenant: u8,
    subject: u8,
    root: u8,
    epoch: u32,
    column: u8,
    row: u8,
}

impl At {
    /// From a few of each, so that most places have neighbours that differ from them in one thing.
    fn random() -> Self {
        let [tenant, subject, root, epoch, column, row] = crate::entropy::array();
        Self {
            tenant: tenant % 3,
            subject: subject % 4,
            root: root % 2,
            epoch: u32::from(epoch % 4) + 1,
            column: column % 3,
            row: row % 4,
        }
    }

    /// The chart of somebody who has the key of this epoch and of the one after it.
    fn chart(self) -> SubjectGrant<Everything> {
        let keys = [(self.epoch, [self.root; 32]), (self.epoch + 1, [self.root + 100; 32])];
        let key = SubjectKey::for_test_with(subject(self.subject), &keys, 0);
        SubjectGrant::for_test(
            tenant(["clinic-a", "clinic-b", "clinic"][usize::from(self.tenant)]),
            subject(self.subject),
            std::sync::Arc::new(key),
        )
    }

    fn seal(self, chart: &SubjectGrant<Everything>) -> Vec<u8> {
        let text = CANARY.to_owned();
        match self.column {
            0 => Encrypted::<NoteText>::seal(&text, chart, row(self.row)).unwrap().as_bytes().to_vec(),
            1 => Encrypted::<NoteTitle>::seal(&text, chart, row(self.row)).unwrap().as_bytes().to_vec(),
            _ => Encrypted::<Iban>::seal(&text, chart, row(self.row)).unwrap().as_bytes().to_vec(),
        }
    }

    fn opens(self, chart: &SubjectGrant<Everything>, bytes: &[u8]) -> bool {
        match self.column {
            0 => defect::<NoteText>(bytes, chart, self.row).is_none(),
            1 => defect::<NoteTitle>(bytes, chart, self.row).is_none(),
            _ => defect::<Iban>(bytes, chart, self.row).is_none(),
        }
    }
}

// proves CLA-10, CLM-18: no pair of (tenant, subject, column, row, epoch) but the sealing one opens a value; a million random
// attempts in the long run. The attacker has keys that are the same wherever he could have them be so.
#[test]
fn no_place_but_the_sealing_one_opens_a_value() {
    let long = std::env::var("TOWER_WARD_LONG").is_ok_and(|what| what == "keys");
    let (attempts, mut opened, mut forged) = (if long { 1_000_000 } else { 20_000 }, 0, 0);
    let mut sealed = Vec::new();
    for attempt in 0..attempts {
        if attempt % 16 == 0 {
            let at = At::random();
            let chart = at.chart();
            sealed.push((at, at.seal(&chart)));
            if sealed.len() > 512 {
                sealed.remove(0);
            }
        }
        let [a, b] = crate::entropy::array();
        let (from, bytes) = &sealed[usize::from(u16::from_be_bytes([a, b])) % sealed.len()];
        // Half of the attempts differ in one thing alone, half in whatever comes.
        let to = if attempt % 2 == 0 {
            let other = At::random();
            match crate::entropy::array::<1>()[0] % 6 {
                0 => At { tenant: other.tenant, ..*from },
                1 => At { subject: other.subject, ..*from },
                2 => At { root: other.root, ..*from },
                3 => At { epoch: other.epoch, ..*from },
                4 => At { column: other.column, ..*from },
                _ => At { row: other.row, ..*from },
            }
        } else {
            At::random()
        };
        let chart = to.chart();
        let opens = to.opens(&chart, bytes);
        assert_eq!(opens, to == *from, "sealed at {from:?}, tried at {to:?}");
        opened += usize::from(opens);
        // The header says that it was sealed in another epoch, whose key the reader has.
        let mut bytes = bytes.clone();
        bytes[2..6].copy_from_slice(&(to.epoch + 1).to_be_bytes());
        forged += usize::from(to.opens(&chart, &bytes));
    }
    println!("{attempts} attempts, {opened} at the sealing place, {forged} forgeries accepted");
    assert!(opened > attempts / 100 && forged == 0);
}

#[test]
fn a_value_without_an_encoding_is_not_sealed() {
    let chart = chart("clinic-a", 1, 1);
    let big = Encrypted::<NoteText>::seal(&"x".repeat((1 << 20) + 1), &chart, row(1)).unwrap_err();
    assert_eq!(big.kind(), SealErrorKind::Encode(EncodeError::TooLarge));
    assert_eq!(big.to_string(), "`notes.text` was not sealed");
    let list = Json::new(vec!["x".repeat(1 << 16)]);
    let big = Encrypted::<Allergies>::seal(&list, &chart, row(1)).unwrap_err();
    assert_eq!(big.kind(), SealErrorKind::Encode(EncodeError::TooLarge));

    // JSON that could not be read back: two members of one name, and too deep a nest.
    struct Twice;
    impl serde::Serialize for Twice {
        fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.collect_map([("a", 1), ("a", 2)])
        }
    }
    impl<'de> serde::Deserialize<'de> for Twice {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    let mut out = Encoder::new([], 0, 0);
    assert_eq!(Json::new(Twice).encode(&mut out), Err(EncodeError::NotJson));
    let deep = (0..128).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]));
    let mut out = Encoder::new([], 0, 0);
    assert_eq!(Json::new(deep).encode(&mut out), Err(EncodeError::NotJson));
}

#[test]
fn a_dropped_phi_wipes_its_value() {
    struct Spy(std::rc::Rc<std::cell::Cell<bool>>);
    impl FieldValue for Spy {
        fn encoded_len(&self) -> usize {
            0
        }
        fn encode(&self, _: &mut Encoder) -> Result<(), EncodeError> {
            Ok(())
        }
        fn decode(_: Plaintext) -> Result<Self, DecodeError> {
            Err(DecodeError)
        }
        fn wipe(&mut self) {
            self.0.set(true);
        }
    }
    let wiped = std::rc::Rc::new(std::cell::Cell::new(false));
    let disclosed = Phi::new(Spy(wiped.clone())).disclose();
    assert!(!disclosed.0.get(), "a disclosed value is the caller's");
    drop(Phi::new(Spy(wiped.clone())));
    assert!(wiped.get());

    let (mut text, mut bytes, mut number, mut yes) = (CANARY.to_owned(), vec![1_u8], 7_i64, true);
    let (mut date, mut time) = (Date::MAX, Timestamp::MAX);
    text.wipe();
    bytes.wipe();
    number.wipe();
    yes.wipe();
    date.wipe();
    time.wipe();
    assert_eq!((text.len(), bytes.len(), number, yes), (0, 0, 0, false));
    assert_eq!((date, time), (Date::ZERO, Timestamp::UNIX_EPOCH));
}

#[test]
fn a_grown_encoder_keeps_what_it_held() {
    let mut out = Encoder::new([b"head"], 0, 16);
    let mut want = Vec::new();
    for n in 0..200_u8 {
        out.push(&[n; 7]).unwrap();
        want.extend_from_slice(&[n; 7]);
    }
    assert_eq!(out.plaintext(), want);
    assert_eq!(&out.finish(&[9; 16])[..4], b"head");
}

#[test]
fn a_ciphertext_travels_as_base64url_and_opens_after() {
    let chart = chart("clinic-a", 1, 1);
    let text = serde_json::to_string(&sealed(CANARY, &chart)).unwrap();
    let back: Encrypted<NoteText> = serde_json::from_str(&text).unwrap();
    assert_eq!(back.open(&chart, row(1)).unwrap().disclose(), CANARY);
}

fn round_trip<C: Column>(value: &C::Value, grant: &impl Opener<C::Class>, at: u8) -> C::Value {
    let sealed = Encrypted::<C>::seal(value, grant, row(at)).unwrap();
    let stored = Encrypted::<C>::from_bytes(sealed.as_bytes());
    stored.open(grant, row(at)).unwrap().disclose()
}

proptest! {
    // proves CLM-03
    #[test]
    fn what_is_sealed_is_what_opens(
        text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..300), number in any::<i64>(), yes in any::<bool>(),
        day in 0..7_304_484_i64, nanos in any::<i64>(), list in proptest::collection::vec(".{0,20}", 0..8),
        who in any::<u8>(), root in any::<u8>(), at in any::<u8>(),
    ) {
        let date = Date::MIN.checked_add(jiff::Span::new().days(day)).unwrap();
        let time = Timestamp::from_nanosecond(i128::from(nanos) * 17).unwrap();
        let (chart, clinic) = (chart("clinic-a", who, root), clinic("clinic-a", root));
        prop_assert_eq!(round_trip::<NoteText>(&text, &chart, at), text.clone());
        prop_assert_eq!(round_trip::<NoteText>(&text, &clinic, at), text);
        prop_assert_eq!(round_trip::<Scan>(&bytes, &chart, at), bytes);
        prop_assert_eq!(round_trip::<Weight>(&number, &chart, at), number);
        prop_assert_eq!(round_trip::<Pregnant>(&yes, &chart, at), yes);
        prop_assert_eq!(round_trip::<Born>(&date, &chart, at), date);
        prop_assert_eq!(round_trip::<SeenAt>(&time, &clinic, at), time);
        prop_assert_eq!(round_trip::<Allergies>(&Json::new(list.clone()), &chart, at).into_inner(), list);
    }

    // What is authentic and still not of the type is refused; what is of the type has one encoding.
    #[test]
    fn bytes_that_decode_are_the_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..13)) {
        fn check<V: FieldValue>(bytes: &[u8]) {
            if let Ok(value) = V::decode(Plaintext::new(bytes.to_vec())) {
                let mut out = Encoder::new([], value.encoded_len(), 0);
                value.encode(&mut out).unwrap();
                assert_eq!(out.plaintext(), bytes);
                assert_eq!(value.encoded_len(), bytes.len());
            }
        }
        check::<String>(&bytes);
        check::<Vec<u8>>(&bytes);
        check::<i64>(&bytes);
        check::<bool>(&bytes);
        check::<Date>(&bytes);
        check::<Timestamp>(&bytes);
    }
}

#[test]
fn twins_across_invocations_are_found_and_named() {
    assert_eq!(check_columns(&[COLUMNS]), Ok(()));
    assert_eq!(
        check_columns(&[COLUMNS, reclassed::COLUMNS]).unwrap_err().to_string(),
        "`notes.text` is declared as a column twice: remove one of the two declarations"
    );
    let indexed: Vec<_> = COLUMNS.iter().filter(|c| c.is_indexed()).map(|c| (c.table(), c.name(), c.class())).collect();
    assert_eq!(
        indexed,
        [("employees", "iban", "payroll"), ("employees", "sort_code", "payroll"), ("patients", "born", "clinical")]
    );
}

#[test]
fn a_test_grant_is_for_the_person_it_names() {
    // Guards the tests above: were these equal, the copied values would open.
    let key = SubjectKey::for_test(subject(2), 1, [1; 32]);
    assert_eq!((key.subject(), tenant("clinic-a") == tenant("clinic-b")), (subject(2), false));
}

// performance.md: one allocation on seal and one on open, which leave; none on what is looked at.
#[test]
fn a_text_is_sealed_and_opened_with_one_allocation_and_looked_at_with_none() {
    let chart = chart("clinic-a", 1, 1);
    let text = "x".repeat(64);
    let sealed = Encrypted::<NoteText>::seal(&text, &chart, row(1)).unwrap();
    let look = || sealed.disclose_with(&chart, row(1), |seen| *seen == text).unwrap();
    assert!(look(), "the buffer of this thread is there from now on");
    let count = |work: &dyn Fn()| allocation_counter::measure(work).count_total;
    let seal = count(&|| drop(Encrypted::<NoteText>::seal(&text, &chart, row(1)).unwrap()));
    let open = count(&|| drop(sealed.open(&chart, row(1)).unwrap().disclose()));
    let lent = count(&|| assert!(look()));
    assert_eq!((seal, open, lent), (1, 1, 0));
}

#[test]
fn a_value_that_is_looked_at_is_wiped_also_when_the_look_panics() {
    let chart = chart("clinic-a", 1, 1);
    let sealed = Encrypted::<NoteText>::seal(&"fever".to_owned(), &chart, row(1)).unwrap();
    let within = sealed.disclose_with(&chart, row(1), |outer| {
        sealed.disclose_with(&chart, row(1), |inner| inner == outer && inner.as_ptr() != outer.as_ptr())
    });
    assert_eq!(within, Ok(Ok(true)), "each has a buffer of its own");
    assert!(sealed.disclose_with(&chart, row(2), |_| panic!("it did not open")).is_err());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sealed.disclose_with(&chart, row(1), |_| panic!("on purpose"))
    }));
    assert!(panicked.is_err());
    assert_eq!(sealed.disclose_with(&chart, row(1), String::clone).as_deref(), Ok("fever"));
    let spare = super::value::spare();
    assert!(spare.is_empty() && spare.capacity() > 0, "kept, and empty");
}
