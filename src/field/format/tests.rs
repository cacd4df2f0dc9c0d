use aes_gcm::Aes256Gcm;
use serde_json::Value;

use super::*;
use crate::field::{FieldValue, Json};

/// Every rule of `docs/format.md`, and what must open. Made by `tests/vectors/field/generate.py` with OpenSSL.
const VECTORS: &[(&str, &str)] = &[
    ("valid", include_str!("../../../tests/vectors/field/valid.json")),
    ("too_short", include_str!("../../../tests/vectors/field/too_short.json")),
    ("unknown_version", include_str!("../../../tests/vectors/field/unknown_version.json")),
    ("unknown_suite", include_str!("../../../tests/vectors/field/unknown_suite.json")),
    ("too_long", include_str!("../../../tests/vectors/field/too_long.json")),
    ("wrong_suite", include_str!("../../../tests/vectors/field/wrong_suite.json")),
    ("wrong_epoch", include_str!("../../../tests/vectors/field/wrong_epoch.json")),
    ("not_authentic", include_str!("../../../tests/vectors/field/not_authentic.json")),
    ("not_canonical", include_str!("../../../tests/vectors/field/not_canonical.json")),
];

struct Vector<A: 'static> {
    name: String,
    cipher: Cipher<'static, A>,
    tenant: TenantId,
    subject: Option<SubjectId>,
    names: Names,
    row: RowId,
    ty: String,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl<A: InPlace<12>> Vector<A> {
    fn new(rule: &str, json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let bytes = |name: &str| hex::decode(text(name)).unwrap();
        let key: [u8; 32] = bytes("key").try_into().unwrap();
        let epoch = json["epoch"].as_u64().unwrap().try_into().unwrap();
        let mut sealed = bytes("sealed");
        if let Some(len) = json["pad_to"].as_u64() {
            sealed.resize(len.try_into().unwrap(), 0);
        }
        Self {
            name: format!("{rule}: {}", text("name")),
            cipher: match json["reader"].as_str() {
                Some("subject") => Cipher::Subject(Held::Made(Box::new(A::keyed(&key))), epoch),
                Some("clinic") => Cipher::Tenant(Held::Made(Box::new(WideAead::keyed(&key))), epoch),
                other => panic!("no such reader: {other:?}"),
            },
            tenant: text("tenant").parse().unwrap(),
            subject: json["subject"].as_str().map(|_| SubjectId::from_bytes(bytes("subject").try_into().unwrap())),
            names: Names::new(&text("class"), &text("table"), &text("column")),
            row: RowId::from_bytes(bytes("row").try_into().unwrap()),
            ty: text("type"),
            plain: bytes("plain"),
            sealed,
        }
    }

    fn place(&self) -> Place<'_> {
        Place { tenant: &self.tenant, subject: self.subject, names: &self.names, row: self.row }
    }

    fn open_bytes(&self, sealed: &[u8]) -> Result<Plaintext, Defect> {
        self.cipher.open(&self.place(), &Parts::parse(sealed)?, Vec::new())
    }

    /// Opens the vector as its type; gives the plaintext, and what the value encodes to again.
    fn open(&self) -> Result<(Vec<u8>, Vec<u8>), Defect> {
        let plain = self.open_bytes(&self.sealed)?;
        let bytes = plain.as_bytes().to_vec();
        let again = match self.ty.as_str() {
            "text" => again::<String>(plain),
            "bytes" => again::<Vec<u8>>(plain),
            "integer" => again::<i64>(plain),
            "bool" => again::<bool>(plain),
            "date" => again::<jiff::civil::Date>(plain),
            "timestamp" => again::<jiff::Timestamp>(plain),
            "json" => again::<Json<JsonShape>>(plain).map(|_| bytes.clone()),
            other => panic!("no such type: {other}"),
        };
        Ok((bytes, again.ok_or(Defect::NotCanonical)?))
    }
}

/// What the JSON vectors are read as: anything, so that no rule of the type hides a missing rule of the format.
type JsonShape = Value;

fn again<V: FieldValue>(plain: Plaintext) -> Option<Vec<u8>> {
    let value = V::decode(plain).ok()?;
    let mut out = Encoder::new([], value.encoded_len(), 0);
    value.encode(&mut out).ok()?;
    Some(out.plaintext().to_vec())
}

/// Runs a test with each library that this build has a cipher from.
macro_rules! by_each_library {
    ($test:ident) => {
        $test::<Aes256Gcm>();
        #[cfg(feature = "aws-lc")]
        $test::<crate::keys::AwsLc>();
    };
}

fn vectors<A: InPlace<12>>() -> impl Iterator<Item = (&'static str, Vector<A>)> {
    VECTORS.iter().flat_map(|(rule, text)| {
        let cases: Vec<Value> = serde_json::from_str(text).unwrap();
        assert!(!cases.is_empty(), "{rule}");
        cases.into_iter().map(|case| (*rule, Vector::new(rule, &case))).collect::<Vec<_>>()
    })
}

// proves CLM-03: AES-256-GCM with a 12-byte IV, as another implementation writes it; what is altered or moved is refused.
#[test]
fn every_vector_opens_or_is_refused_for_the_reason_it_is_named_for() {
    by_each_library!(every_vector);
}

fn every_vector<A: InPlace<12>>() {
    for (rule, vector) in vectors::<A>() {
        match (rule, vector.open()) {
            ("valid", Ok((plain, again))) => {
                assert_eq!(plain, vector.plain, "{}", vector.name);
                assert_eq!(again, vector.plain, "{}: not the one encoding", vector.name);
            }
            ("valid", Err(defect)) => panic!("{}: {defect}", vector.name),
            (rule, Err(defect)) => assert_eq!(defect.name(), rule, "{}", vector.name),
            (_, Ok(_)) => panic!("{}: opened", vector.name),
        }
    }
}

#[test]
fn sealing_with_the_iv_of_a_vector_gives_the_bytes_of_the_vector() {
    by_each_library!(sealing);
}

fn sealing<A: InPlace<12>>() {
    for (_, vector) in vectors::<A>().filter(|(rule, _)| *rule == "valid") {
        let iv = &vector.sealed[HEADER..HEADER + vector.cipher.suite().iv()];
        let sealed = vector.cipher.seal_with_iv(&vector.place(), iv, 0, |out| out.push(&vector.plain)).unwrap();
        assert_eq!(*sealed, *vector.sealed, "{}", vector.name);
    }
}

#[test]
fn the_document_and_the_vectors_name_the_same_rules() {
    let document = include_str!("../../../docs/format.md");
    for (rule, _) in VECTORS.iter().filter(|(rule, _)| *rule != "valid") {
        assert!(document.contains(&format!(". `{rule}` ")), "docs/format.md does not have the rule {rule}");
    }
    let rules = document.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count();
    assert_eq!(rules, VECTORS.len() - 1, "a rule of docs/format.md has no vectors");
}

#[test]
fn what_parses_prints_the_same_bytes() {
    for (rule, vector) in vectors::<Aead>() {
        let has_form = !["too_short", "unknown_version", "unknown_suite", "too_long"].contains(&rule);
        assert_eq!(reprint(&vector.sealed), has_form.then(|| vector.sealed.clone()), "{}", vector.name);
    }
}

// attack: one bit, anywhere in what is stored.
#[test]
fn a_bit_flipped_in_any_byte_does_not_open() {
    by_each_library!(bits);
}

fn bits<A: InPlace<12>>() {
    for (_, vector) in vectors::<A>().filter(|(rule, _)| *rule == "valid") {
        for at in 0..vector.sealed.len() {
            for bit in 0..8 {
                let mut sealed = vector.sealed.clone();
                sealed[at] ^= 1 << bit;
                assert!(vector.open_bytes(&sealed).is_err(), "{}: byte {at} bit {bit}", vector.name);
            }
        }
    }
}

// attack: bytes cut off at either end.
#[test]
fn no_part_of_a_sealed_field_opens() {
    by_each_library!(parts);
}

fn parts<A: InPlace<12>>() {
    for (_, vector) in vectors::<A>().filter(|(rule, _)| *rule == "valid") {
        for at in 0..vector.sealed.len() {
            assert!(vector.open_bytes(&vector.sealed[..at]).is_err(), "{}: up to {at}", vector.name);
            assert!(at == 0 || vector.open_bytes(&vector.sealed[at..]).is_err(), "{}", vector.name);
        }
    }
}

#[test]
fn the_largest_value_is_one_mebibyte_and_not_a_byte_more() {
    by_each_library!(largest);
}

fn largest<A: InPlace<12>>() {
    for (_, vector) in vectors::<A>().filter(|(_, v)| v.name.starts_with("valid: text of")) {
        let mut value = vec![b'x'; MAX_PLAINTEXT];
        let seal = |value: &[u8]| vector.cipher.seal(&vector.place(), value.len(), |out| out.push(value));
        let sealed = seal(&value).unwrap();
        assert!(sealed.len() <= MAX_SEALED);
        assert_eq!(vector.open_bytes(&sealed).unwrap().as_bytes(), value);
        value.push(b'x');
        assert_eq!(seal(&value), Err(EncodeError::TooLarge));
    }
}

#[test]
fn the_longest_names_fit_the_associated_data_and_no_two_places_share_one() {
    let tenant: TenantId = "t".repeat(63).parse().unwrap();
    let name = "n".repeat(63);
    let place = Place {
        tenant: &tenant,
        subject: Some(SubjectId::from_bytes([1; 16])),
        names: &Names::new(&name, &name, &name),
        row: RowId::from_bytes([2; 16]),
    };
    let header = Suite::Subject.header(u32::MAX);
    assert_eq!(Aad::new(header, &place).as_bytes().len(), AAD_MAX);
    let nobody = Place { subject: None, ..place };
    assert_eq!(Aad::new(header, &nobody).as_bytes().len(), AAD_MAX - 16);
    // The sixteen bytes of a subject could be read as a name, were lengths not written.
    let cut = |table, column| {
        let names = Names::new(&name, table, column);
        Aad::new(header, &Place { names: &names, ..place }).as_bytes().to_vec()
    };
    assert_ne!(cut("ab", "c"), cut("a", "bc"));
}

// performance.md: one allocation on seal.
#[test]
fn sealing_a_value_that_knows_its_length_never_moves_the_buffer() {
    let (_, vector) = vectors::<Aead>().next().unwrap();
    let text = "x".repeat(1000);
    let mut first = None;
    let sealed = vector.cipher.seal(&vector.place(), text.encoded_len(), |out| {
        first = Some(out.plaintext().as_ptr());
        text.encode(out)
    });
    let sealed = sealed.unwrap();
    assert_eq!(Some(sealed[HEADER + 12..].as_ptr()), first);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // The fuzz target's property, on bytes that are close to the form.
        #[test]
        fn parse_print_parse_is_equal(
            version in 0_u8..3, suite in 0_u8..4, rest in proptest::collection::vec(any::<u8>(), 0..96),
        ) {
            let bytes = [&[version, suite][..], &rest].concat();
            if let Some(printed) = reprint(&bytes) {
                prop_assert_eq!(&printed, &bytes);
                prop_assert_eq!(Parts::parse(&printed).ok(), Parts::parse(&bytes).ok());
            }
        }
    }
}
