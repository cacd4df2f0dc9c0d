//! Ciphertexts with one defect each, named, through every way in which an application gets at one.
//!
//! `tests/vectors/field` has the same for the format alone, as another implementation writes it.

use super::*;
use crate::{access::ClinicGrant, keys::TenantKey};

/// One value that must not open.
struct Row {
    name: &'static str,
    bytes: Vec<u8>,
}

/// Whose values are attacked: a person's or the clinic's.
struct Side<'a> {
    suite: u8,
    iv: usize,
    good: &'a [u8],
    /// The same text again, in the same place.
    again: &'a [u8],
    other_row: &'a [u8],
    other_column: &'a [u8],
    other_class: &'a [u8],
    other_type: &'a [u8],
    other_key: &'a [u8],
    other_owner: &'a [u8],
    other_clinic: &'a [u8],
    other_kind: &'a [u8],
    later_epoch: &'a [u8],
}

fn flip(bytes: &[u8], at: usize, bit: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << bit;
    bytes
}

fn put(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

fn defects(side: &Side<'_>) -> Vec<Row> {
    let good = side.good;
    let (body, tag) = (6 + side.iv, good.len() - 16);
    let text = CANARY.as_bytes();
    let other_suite = 3 - side.suite;
    let unlike = (body..tag).find(|at| good[*at] != good[*at + 1]).expect("not all of it is one byte");
    let joined = |parts: &[&[u8]]| parts.concat();
    let rows = [
        // The header.
        ("version 0", put(good, 0, &[0])),
        ("version 2", put(good, 0, &[2])),
        ("version 255", put(good, 0, &[255])),
        ("version as a digit", put(good, 0, b"1")),
        ("suite 0", put(good, 1, &[0])),
        ("suite 3", put(good, 1, &[3])),
        ("suite 255", put(good, 1, &[255])),
        ("the other suite", put(good, 1, &[other_suite])),
        ("epoch 0", put(good, 2, &[0, 0, 0, 0])),
        ("the next epoch", put(good, 2, &[0, 0, 0, 2])),
        ("the greatest epoch", put(good, 2, &[255; 4])),
        ("the epoch the other way round", put(good, 2, &[1, 0, 0, 0])),
        ("no header", good[6..].to_vec()),
        ("the header twice", joined(&[&good[..6], good])),
        // Lengths.
        ("empty", Vec::new()),
        ("one byte", good[..1].to_vec()),
        ("the header alone", good[..6].to_vec()),
        ("the header and the IV", good[..body].to_vec()),
        ("no tag", good[..tag].to_vec()),
        ("a tag of 12 bytes", good[..good.len() - 4].to_vec()),
        ("a tag of 15 bytes", good[..good.len() - 1].to_vec()),
        ("a byte more", joined(&[good, &[0]])),
        ("a line end after it", joined(&[good, b"\n"])),
        ("a block more", joined(&[good, &[0; 16]])),
        ("a byte before it", joined(&[&[0], good])),
        ("a byte order mark before it", joined(&[b"\xef\xbb\xbf", good])),
        ("the first byte lost", good[1..].to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
        ("one byte of the text lost", joined(&[&good[..body], &good[body + 1..]])),
        ("no text", joined(&[&good[..body], &good[tag..]])),
        ("the tag twice", joined(&[good, &good[tag..]])),
        ("twice", joined(&[good, good])),
        ("larger than any value", joined(&[good, &vec![0; 1 << 20]])),
        // Bits.
        ("the first bit of the IV", flip(good, 6, 0)),
        ("the last bit of the IV", flip(good, body - 1, 7)),
        ("the IV of zeros", put(good, 6, &vec![0; side.iv])),
        ("the IV of ones", put(good, 6, &vec![255; side.iv])),
        ("the IV counted up", flip(&flip(good, body - 1, 0), body - 1, 1)),
        ("the first bit of the text", flip(good, body, 0)),
        ("the middle of the text", flip(good, body + 10, 3)),
        ("the last bit of the text", flip(good, tag - 1, 7)),
        ("the case of a letter", flip(good, body, 5)),
        ("the text of zeros", put(good, body, &vec![0; tag - body])),
        ("the first bit of the tag", flip(good, tag, 0)),
        ("the last bit of the tag", flip(good, good.len() - 1, 7)),
        ("the tag of zeros", put(good, tag, &[0; 16])),
        ("the tag of ones", put(good, tag, &[255; 16])),
        // Parts in another order, and of another value.
        ("backwards", good.iter().rev().copied().collect()),
        ("text and tag exchanged", joined(&[&good[..body], &good[tag..], &good[body..tag]])),
        ("two bytes of the text exchanged", put(good, unlike, &[good[unlike + 1], good[unlike]])),
        ("the IV of another seal", put(good, 6, &side.again[6..body])),
        ("the text of another seal", put(good, body, &side.again[body..tag])),
        ("the tag of another seal", put(good, tag, &side.again[tag..])),
        // No ciphertext.
        ("zeros", vec![0; good.len()]),
        ("ones", vec![255; good.len()]),
        ("a header and zeros", put(&vec![0; good.len()], 0, &good[..6])),
        ("in clear", text.to_vec()),
        ("in clear behind a header", joined(&[&good[..6], text])),
        ("in clear in the place of the text", put(good, body, text)),
        ("in hexadecimal", hex::encode(good).into_bytes()),
        ("in base64url", crate::codec::base64url(good).into_bytes()),
        ("as JSON", serde_json::to_vec(good).unwrap()),
        ("as a text of UTF-16", good.iter().flat_map(|b| [*b, 0]).collect()),
        // Sealed rightly, for another place.
        ("another row's", side.other_row.to_vec()),
        ("another column's", side.other_column.to_vec()),
        ("another class's", side.other_class.to_vec()),
        ("another type's that is no text", side.other_type.to_vec()),
        ("under another key", side.other_key.to_vec()),
        ("another owner's, under the same key", side.other_owner.to_vec()),
        ("another clinic's, under the same key", side.other_clinic.to_vec()),
        ("the other kind of owner's", side.other_kind.to_vec()),
        ("a later epoch's", side.later_epoch.to_vec()),
        ("a later epoch's with our header", put(side.later_epoch, 2, &[0, 0, 0, 1])),
    ];
    rows.map(|(name, bytes)| Row { name, bytes }).into()
}

/// Every reader: the bytes as they are, from JSON, and from a column of a SQLite table.
async fn read_every_way<G: Opener<Clinical>>(side: &str, grant: &G, good: &[u8], rows: &[Row]) -> usize {
    let opens = |bytes: &[u8]| {
        let opened = Encrypted::<NoteText>::from_bytes(bytes).open(grant, row(1));
        opened.map(Phi::disclose).map_err(|error| format!("{error} {error:?}"))
    };
    assert_eq!(opens(good).as_deref(), Ok(CANARY), "{side}");
    let shown = |error: String| {
        assert!(!error.contains("canary") && !error.contains("headache"), "{side}: {error}");
        error
    };
    let looks: HashSet<String> =
        rows.iter().map(|r| shown(opens(&r.bytes).expect_err(&format!("{side}: {}", r.name)))).collect();
    assert_eq!(looks.len(), 1, "{side}: {looks:?}");

    let from_json = |bytes: &[u8]| {
        let text = format!("\"{}\"", crate::codec::base64url(bytes));
        let sealed: Encrypted<NoteText> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        opens(sealed.as_bytes())
    };
    assert_eq!(from_json(good).as_deref(), Ok(CANARY), "{side}: JSON");
    for r in rows {
        shown(from_json(&r.bytes).expect_err(&format!("{side}: JSON: {}", r.name)));
    }

    #[cfg(feature = "sqlite")]
    {
        let options = ::sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let pool = options.connect("sqlite::memory:").await.unwrap();
        ::sqlx::query("create table notes (id integer primary key, text blob) strict").execute(&pool).await.unwrap();
        for (id, bytes) in (0_i64..).zip(std::iter::once(good).chain(rows.iter().map(|r| &r.bytes[..]))) {
            let insert = ::sqlx::query("insert into notes values (?, ?)").bind(id).bind(bytes);
            insert.execute(&pool).await.unwrap();
            let stored = ::sqlx::query_scalar::<_, Encrypted<NoteText>>("select text from notes where id = ?").bind(id);
            let opened = stored.fetch_one(&pool).await.map_err(|error| error.to_string());
            let opened = opened.and_then(|sealed| opens(sealed.as_bytes()));
            match usize::try_from(id).unwrap().checked_sub(1) {
                None => assert_eq!(opened.as_deref(), Ok(CANARY), "{side}: SQLite"),
                Some(at) => drop(shown(opened.expect_err(&format!("{side}: SQLite: {}", rows[at].name)))),
            }
        }
        ::sqlx::query("update notes set text = null").execute(&pool).await.unwrap();
        let null =
            ::sqlx::query_scalar::<_, Encrypted<NoteText>>("select text from notes limit 1").fetch_one(&pool).await;
        // SQLite gives no bytes for it, as for an empty blob.
        assert!(null.is_ok_and(|sealed| opens(sealed.as_bytes()).is_err()), "{side}: SQLite: no value at all");
    }
    rows.len()
}

// proves CLA-10, CLM-18
#[tokio::test]
async fn no_defect_opens_whatever_way_the_ciphertext_is_read() {
    fn seal<C: Column<Value = String>>(grant: &impl Opener<C::Class>, at: u8) -> Vec<u8> {
        Encrypted::<C>::seal(&CANARY.to_owned(), grant, row(at)).unwrap().as_bytes().to_vec()
    }
    fn no_text(grant: &impl Opener<Clinical>) -> Vec<u8> {
        let bytes = [CANARY.as_bytes(), &[0xff]].concat();
        Encrypted::<retyped::NoteText>::seal(&bytes, grant, row(1)).unwrap().as_bytes().to_vec()
    }
    let (home, desk) = (chart("clinic-a", 1, 1), clinic("clinic-a", 1));

    let later = chart_at_epoch("clinic-a", 1, 1, 2);
    let person = defects(&Side {
        suite: 1,
        iv: 12,
        good: &seal::<NoteText>(&home, 1),
        again: &seal::<NoteText>(&home, 1),
        other_row: &seal::<NoteText>(&home, 2),
        other_column: &seal::<NoteTitle>(&home, 1),
        other_class: &seal::<reclassed::NoteText>(&home, 1),
        other_type: &no_text(&home),
        other_key: &seal::<NoteText>(&chart("clinic-a", 1, 2), 1),
        other_owner: &seal::<NoteText>(&chart("clinic-a", 2, 1), 1),
        other_clinic: &seal::<NoteText>(&chart("clinic-b", 1, 1), 1),
        other_kind: &seal::<NoteText>(&desk, 1),
        later_epoch: &seal::<NoteText>(&later, 1),
    });
    let key = TenantKey::for_test(tenant("clinic-a"), 2, [1; 32]);
    let later = ClinicGrant::<Everything>::for_test(tenant("clinic-a"), std::sync::Arc::new(key));
    let of_clinic = defects(&Side {
        suite: 2,
        iv: 24,
        good: &seal::<NoteText>(&desk, 1),
        again: &seal::<NoteText>(&desk, 1),
        other_row: &seal::<NoteText>(&desk, 2),
        other_column: &seal::<NoteTitle>(&desk, 1),
        other_class: &seal::<reclassed::NoteText>(&desk, 1),
        other_type: &no_text(&desk),
        other_key: &seal::<NoteText>(&clinic("clinic-a", 2), 1),
        other_owner: &seal::<NoteText>(&clinic("clinic-c", 1), 1),
        other_clinic: &seal::<NoteText>(&clinic("clinic-b", 1), 1),
        other_kind: &seal::<NoteText>(&home, 1),
        later_epoch: &seal::<NoteText>(&later, 1),
    });
    assert!(person.len() >= 40 && of_clinic.len() >= 40);
    // The rows were made of values of their own: each kind is opened beside one that is good.
    let good = seal::<NoteText>(&home, 1);
    let a = read_every_way("a person's", &home, &good, &person).await;
    let good = seal::<NoteText>(&desk, 1);
    let b = read_every_way("the clinic's", &desk, &good, &of_clinic).await;
    println!("ciphertexts: {a} defects of a person's and {b} of the clinic's, through three readers each");
}
