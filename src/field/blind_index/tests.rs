use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::field::{
    FieldValue, Plaintext,
    test_support::{Payroll, clinic, tenant},
};

crate::columns! {
    pub(crate) NiNumber: String = "employees"."ni" as Payroll, indexed;
    pub(crate) Alias: String = "employees"."alias" as Payroll, indexed;
    pub(crate) OtherNi: String = "patients"."ni" as Payroll, indexed;
}

fn index_of<C: Indexed<Value = String, Class = Payroll>>(text: &str, clinic_name: &str, root: u8) -> [u8; 16] {
    *BlindIndex::<C>::of(&text.to_owned(), &clinic(clinic_name, root)).unwrap().as_bytes()
}

#[test]
fn every_vector_has_the_index_that_another_implementation_gives_it() {
    let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/field/blind_index.json")).unwrap();
    let key = hex::decode(vectors["key"].as_str().unwrap()).unwrap();
    let mac = IndexMac::keyed(key.as_slice().try_into().unwrap());
    fn of<V: Indexable>(bytes: Vec<u8>, mac: &IndexMac) -> String {
        hex::encode(digest(&V::decode(Plaintext::new(bytes)).unwrap(), mac).unwrap())
    }
    for case in vectors["cases"].as_array().unwrap() {
        for value in case["values"].as_array().unwrap() {
            let bytes = hex::decode(value.as_str().unwrap()).unwrap();
            let index = match case["type"].as_str() {
                Some("text") => of::<String>(bytes, &mac),
                Some("bytes") => of::<Vec<u8>>(bytes, &mac),
                Some("integer") => of::<i64>(bytes, &mac),
                Some("date") => of::<jiff::civil::Date>(bytes, &mac),
                other => panic!("no such type: {other:?}"),
            };
            assert_eq!(Some(index.as_str()), case["index"].as_str(), "{}", case["name"]);
        }
    }
}

// attack: a thief of two clinics' databases looks for people who are in both.
#[test]
fn an_index_cannot_be_compared_across_clinics_columns_or_tables() {
    let home = index_of::<NiNumber>("QQ123456C", "clinic-a", 1);
    assert_eq!(home, index_of::<NiNumber>(" qq123456c ", "clinic-a", 1));
    assert_ne!(home, index_of::<NiNumber>("QQ123456C", "clinic-b", 2));
    assert_ne!(home, index_of::<Alias>("QQ123456C", "clinic-a", 1));
    assert_ne!(home, index_of::<OtherNi>("QQ123456C", "clinic-a", 1));
    assert_ne!(home, index_of::<NiNumber>("QQ123456D", "clinic-a", 1));
}

#[test]
fn the_bound_on_text_is_1024_bytes() {
    let grant = clinic("clinic-a", 1);
    let of = |text: String| BlindIndex::<NiNumber>::of(&text, &grant).map(|_| ());
    assert_eq!(of("x".repeat(1024)), Ok(()));
    assert_eq!(of("x".repeat(1025)), Err(IndexError::TooLong));
    // The longest expansion there is: 3 bytes become 33.
    assert_eq!(of("\u{fdfa}".repeat(341)), Ok(()));
}

#[test]
fn a_text_and_a_number_of_the_same_bytes_have_different_indexes() {
    let mac = IndexMac::keyed(&[7; 32]);
    let number = i64::from_be_bytes(*b"abcdefgh");
    assert_ne!(digest(&number, &mac), digest(&"abcdefgh".to_owned(), &mac));
    assert_ne!(digest(&b"abcdefgh".to_vec(), &mac), digest(&"abcdefgh".to_owned(), &mac));
}

#[test]
fn a_type_that_calls_itself_text_and_is_not_is_refused() {
    struct Liar;
    impl FieldValue for Liar {
        fn encoded_len(&self) -> usize {
            0
        }
        fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
            out.push(&[0xff])
        }
        fn decode(_: Plaintext) -> Result<Self, crate::field::DecodeError> {
            Ok(Self)
        }
        fn wipe(&mut self) {}
    }
    impl Indexable for Liar {
        const KIND: IndexKind = IndexKind::Text;
    }
    let mac = IndexMac::keyed(&[7; 32]);
    assert_eq!(digest(&Liar, &mac), Err(IndexError::NotText));
}

#[test]
fn a_clinics_key_gives_the_door_the_same_index_as_the_grant() {
    let key = TenantKey::for_test(tenant("clinic-a"), 1, [1; 32]);
    let index = BlindIndex::<NiNumber>::compute(&"QQ123456C".to_owned(), &key).unwrap();
    assert_eq!(*index.as_bytes(), index_of::<NiNumber>("QQ123456C", "clinic-a", 1));
}

fn form(text: &str) -> String {
    let mut plain = Encoder::new([&[0; HEAD]], text.len(), 0);
    plain.push(text.as_bytes()).unwrap();
    normalise(&mut plain).unwrap();
    str::from_utf8(plain.plaintext()).unwrap().to_owned()
}

#[test]
fn the_form_of_each_scalar_is_its_own_form() {
    // All that have a case or a compatibility form; the rest is ideographs, syllables, and what is not assigned.
    let ranges = ['\0'..='\u{33ff}', '\u{a000}'..='\u{abff}', '\u{f900}'..='\u{1ffff}', '\u{2f800}'..='\u{2fa1f}'];
    for scalar in ranges.into_iter().flatten() {
        let once = form(scalar.encode_utf8(&mut [0; 4]));
        assert_eq!(form(&once), once, "{scalar:?}");
    }
}

proptest! {
    #[test]
    fn case_and_white_space_at_the_ends_do_not_matter(text in "[a-zA-Z0-9 äöüÄÖÜßøØ]{0,40}") {
        let home = form(&text);
        for other in [text.to_uppercase(), text.to_lowercase(), format!(" \t{text}\u{2003}")] {
            prop_assert_eq!(form(&other), home.clone());
        }
    }

    #[test]
    fn the_short_way_for_ascii_agrees_with_the_long_one(text in "[\\x00-\\x7f]{0,40}") {
        // A letter that is not ASCII sends the text the long way; letters at the ends keep the white space.
        let long = form(&format!("x{text}xé"));
        let short = form(&format!("x{text}x"));
        prop_assert_eq!(long, format!("{short}é"));
    }
}
