//! Tests of the record's bytes.
#![expect(clippy::type_complexity, reason = "tables of setters")]

use proptest::prelude::*;

use super::*;

const LEAST: &str = concat!(
    r#"{"v":1,"index":0,"stream":"platform","seq":0,"prev":"#,
    r#""0000000000000000000000000000000000000000000000000000000000000000","#,
    r#""at":"1970-01-01T00:00:00.000000000Z","mono":0,"kind":"event"}"#,
);

const FULL: &str = concat!(
    r#"{"v":1,"index":18446744073709551615,"stream":"clinic-a","seq":7,"prev":"#,
    r#""00000000000000000000000000000000000000000000000000000000000000ff","#,
    r#""at":"2026-11-21T22:47:00.123456789Z","mono":5,"trail":"018f4e3a-7b1c-7def-8abc-000000000001","#,
    r#""kind":"changed","action":"update","user":"018f4e3a-7b1c-7def-8abc-000000000002","#,
    r#""about":"018f4e3a-7b1c-7def-8abc-000000000008","role":"doctor","#,
    r#""session":"018f4e3a-7b1c-7def-8abc-000000000003","permission":"notes.read","entity":"note","#,
    r#""subjects":["018f4e3a-7b1c-7def-8abc-000000000004","018f4e3a-7b1c-7def-8abc-000000000005"],"#,
    r#""row":"018f4e3a-7b1c-7def-8abc-000000000006","attempt":"018f4e3a-7b1c-7def-8abc-000000000007","#,
    r#""changes":[{"class":"clinical","sealed":"AQE","fields":[{"name":"text","before":"illegible","#,
    r#""after":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}]},{"class":"identity","sealed":"Ag","fields":["#,
    r#"{"name":"given","before":"CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg"},{"name":"sex","after":"illegible"}]}],"#,
    r#""purpose":"treatment","reason":"é \"\\\b\t\n\f\r\u0000\u001f/","why":"assigned","outcome":"committed","#,
    r#""end":"completed","status":200,"bytes":12,"count":3,"peer":"2001:db8::1","agent":"curl/8","request":"req-1","method":"GET","#,
    r#""route":"/patients/{id}"}"#,
);

/// The value of `changes` in [`FULL`].
const CHANGES: &str = concat!(
    r#"[{"class":"clinical","sealed":"AQE","fields":[{"name":"text","before":"illegible","#,
    r#""after":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}]},{"class":"identity","sealed":"Ag","fields":["#,
    r#"{"name":"given","before":"CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg"},{"name":"sex","after":"illegible"}]}]"#,
);
/// A commitment of as many letters, with bits behind its last byte.
const LOOSE: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwd";

#[test]
fn the_fields_stand_in_the_documented_order() {
    for text in [LEAST, FULL] {
        let record = Record::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(record.to_bytes()).unwrap(), text);
    }
    let record = Record::from_bytes(FULL.as_bytes()).unwrap();
    assert_eq!(record.reason(), Some("é \"\\\u{8}\t\n\u{c}\r\0\u{1f}/"));
    assert_eq!(record.about().map(|about| about.as_bytes()[15]), Some(8));
    assert_eq!((record.subjects().len(), record.status(), record.method()), (2, Some(200), Some(Method::Get)));
}

#[test]
fn a_record_has_one_spelling() {
    let rows = [
        ("white space", LEAST, r#""seq":0"#, r#""seq": 0"#, "seq"),
        ("leading zero", LEAST, r#""seq":0"#, r#""seq":00"#, "seq"),
        ("negative", LEAST, r#""seq":0"#, r#""seq":-0"#, "seq"),
        ("float", LEAST, r#""mono":0"#, r#""mono":0.0"#, "kind"),
        ("exponent", LEAST, r#""mono":0"#, r#""mono":0e0"#, "kind"),
        ("number too large", FULL, "18446744073709551615", "18446744073709551616", "index"),
        ("number as text", LEAST, r#""seq":0"#, r#""seq":"0""#, "seq"),
        ("no number", LEAST, r#""seq":0"#, r#""seq":"#, "seq"),
        ("upper-case hash", FULL, "00ff\"", "00FF\"", "prev"),
        ("short hash", FULL, "00ff\"", "ff\"", "prev"),
        (
            "upper-case uuid",
            FULL,
            "018f4e3a-7b1c-7def-8abc-000000000001",
            "018F4E3A-7b1c-7def-8abc-000000000001",
            "trail",
        ),
        ("bare uuid", FULL, "018f4e3a-7b1c-7def-8abc-000000000001", "018f4e3a7b1c7def8abc000000000001", "trail"),
        ("time with fewer digits", LEAST, "00.000000000Z", "00Z", "at"),
        ("time with an offset", LEAST, "00.000000000Z", "00.000000000+00:00", "at"),
        ("time with a small letter", LEAST, "1970-01-01T", "1970-01-01t", "at"),
        ("unknown word", LEAST, r#""kind":"event""#, r#""kind":"Event""#, "kind"),
        ("escape not needed", FULL, "treatment", "tre\\u0061tment", "purpose"),
        ("escaped solidus", FULL, "/\",\"why", "\\/\",\"why", "reason"),
        ("upper-case escape", FULL, "\\u001f", "\\u001F", "reason"),
        ("long escape", FULL, "\\n", "\\u000a", "reason"),
        ("raw control", FULL, "\\n", "\n", "reason"),
        ("surrogates", FULL, "é", "\\ud83d\\ude00", "reason"),
        (
            "empty list",
            FULL,
            r#"["018f4e3a-7b1c-7def-8abc-000000000004","018f4e3a-7b1c-7def-8abc-000000000005"]"#,
            "[]",
            "subjects",
        ),
        ("open list", FULL, r#"005"],"row""#, r#"005",],"row""#, "subjects"),
        ("empty list of changes", FULL, CHANGES, "[]", "changes"),
        ("a change that says nothing", LEAST, r#""kind":"event""#, r#""kind":"changed""#, "changes"),
        ("an access that says what changed", FULL, r#""kind":"changed""#, r#""kind":"opened""#, "changes"),
        ("sealed that is empty", FULL, r#""sealed":"Ag""#, r#""sealed":"""#, "changes"),
        ("class without fields", FULL, r#""fields":[{"name":"text""#, r#""fields":[],"x":[{"name":"text""#, "changes"),
        ("class of no name", FULL, r#""class":"clinical""#, r#""class":"""#, "changes"),
        ("classes that fall", FULL, r#""class":"clinical""#, r#""class":"zoo""#, "changes"),
        ("a class twice", FULL, r#""class":"clinical""#, r#""class":"identity""#, "changes"),
        ("sealed with padding", FULL, r#""AQE""#, r#""AQE=""#, "changes"),
        ("sealed with loose bits", FULL, r#""AQE""#, r#""AQF""#, "changes"),
        ("sealed in another alphabet", FULL, r#""AQE""#, r#""A/E""#, "changes"),
        ("a short commitment", FULL, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc", "BwcH", "changes"),
        ("a commitment with loose bits", FULL, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc", LOOSE, "changes"),
        ("illegible otherwise", FULL, r#""before":"illegible""#, r#""before":"Illegible""#, "changes"),
        ("no value before or after", FULL, r#""name":"sex","after":"illegible""#, r#""name":"sex""#, "changes"),
        ("fields that fall", FULL, r#""name":"given""#, r#""name":"zip""#, "changes"),
        ("a field twice", FULL, r#""name":"given""#, r#""name":"sex""#, "changes"),
        ("a field of no name", FULL, r#""name":"sex""#, r#""name":"""#, "changes"),
        ("a field's name in capitals", FULL, r#""name":"sex""#, r#""name":"Sex""#, "changes"),
        ("after before before", FULL, r#""before":"illegible","after""#, r#""after":"illegible","before""#, "changes"),
        ("a field's white space", FULL, r#"{"name":"sex""#, r#"{ "name":"sex""#, "changes"),
        ("null", FULL, r#""status":200"#, r#""status":null"#, "status"),
        ("status beyond its type", FULL, r#""status":200"#, r#""status":65536"#, "status"),
        ("long address", FULL, "2001:db8::1", "2001:0db8::1", "peer"),
        ("upper-case address", FULL, "2001:db8::1", "2001:DB8::1", "peer"),
        ("unknown field", LEAST, "}", r#","extra":1}"#, "record"),
        ("twice", LEAST, "}", r#","kind":"event"}"#, "record"),
        ("another order", FULL, r#""status":200,"bytes":12"#, r#""bytes":12,"status":200"#, "record"),
        ("about in the place of user", FULL, r#""user":"#, r#""about":"#, "record"),
        ("trailing bytes", LEAST, "}", "}\n", "record"),
        ("another version", LEAST, r#""v":1,"#, r#""v":2,"#, "v"),
        ("version that begins alike", LEAST, r#""v":1,"#, r#""v":10,"#, "index"),
        ("tenant that is none", FULL, "clinic-a", "Clinic-a", "stream"),
        ("cut", LEAST, "}", "", "record"),
        ("nothing", LEAST, LEAST, "", "v"),
    ];
    for (name, text, from, to, field) in rows {
        assert!(text.contains(from), "{name}");
        let bad = text.replacen(from, to, 1);
        assert_eq!(Record::from_bytes(bad.as_bytes()).map_err(|e| e.field()), Err(field), "{name}");
    }
    let mut not_utf8 = FULL.as_bytes().to_vec();
    let at = FULL.find('é').unwrap();
    not_utf8[at + 1] = b'"';
    assert!(Record::from_bytes(&not_utf8).is_err());
}

#[test]
fn what_is_too_long_is_refused_on_both_sides_of_the_edge() {
    let mut record = Record::from_bytes(FULL.as_bytes()).unwrap();
    let rows: [(&str, usize, fn(&mut Record, String)); 7] = [
        ("role", MAX_NAME, |r, t| r.role = Some(t.into())),
        ("permission", MAX_NAME, |r, t| r.permission = Some(t.into())),
        ("request", MAX_NAME, |r, t| r.request = Some(t.into())),
        ("why", MAX_WHY, |r, t| r.why = Some(t.into())),
        ("reason", MAX_TEXT, |r, t| r.reason = Some(t.into())),
        ("route", MAX_TEXT, |r, t| r.route = Some(t.into())),
        ("agent", MAX_TEXT, |r, t| r.agent = Some(t.into())),
    ];
    for (field, most, set) in rows {
        for text in ["x", "\u{1}", "é"] {
            let fits = most / text.len();
            set(&mut record, text.repeat(fits));
            assert_eq!(Record::from_bytes(&record.to_bytes()).as_ref(), Ok(&record), "{field}");
            set(&mut record, text.repeat(fits + 1));
            assert_eq!(Record::from_bytes(&record.to_bytes()).map_err(|e| e.field()), Err(field));
            set(&mut record, text.repeat(fits));
        }
    }
    (record.kind, record.changes) = (Kind::Event, Vec::new());
    record.subjects = vec![SubjectId::from_bytes([7; 16]); MAX_SUBJECTS];
    assert_eq!(Record::from_bytes(&record.to_bytes()).as_ref(), Ok(&record));
    record.subjects.push(SubjectId::from_bytes([8; 16]));
    assert_eq!(Record::from_bytes(&record.to_bytes()).map_err(|e| e.field()), Err("subjects"));
}

#[test]
fn the_longest_record_fits() {
    let long = |most| "\u{1}".repeat(most);
    let mut record = Record::from_bytes(FULL.as_bytes()).unwrap();
    record.role = Some(long(MAX_NAME).into());
    record.permission = Some(long(MAX_NAME).into());
    record.entity = Some(long(MAX_NAME).into());
    record.purpose = Some(Purpose::new(&"p".repeat(MAX_NAME)).unwrap());
    record.reason = Some(long(MAX_TEXT).into());
    record.why = Some(long(MAX_WHY).into());
    record.request = Some(long(MAX_NAME).into());
    record.route = Some(long(MAX_TEXT).into());
    // Visible ASCII: what a client sends is made that.
    record.agent = Some("\"".repeat(MAX_TEXT).into());
    (record.kind, record.changes) = (Kind::Event, Vec::new());
    record.subjects = vec![SubjectId::from_bytes([7; 16]); MAX_SUBJECTS];
    let bytes = record.to_bytes();
    assert!(bytes.len() <= MAX_RECORD, "{}", bytes.len());
    assert_eq!(Record::from_bytes(&bytes).as_ref(), Ok(&record));

    // A change is of one person's row, and has no reason.
    record.subjects.truncate(1);
    record.reason = None;
    (record.kind, record.changes) = (Kind::Changed, longest_changes());
    let bytes = record.to_bytes();
    assert!(bytes.len() <= MAX_RECORD, "{}", bytes.len());
    assert_eq!(Record::from_bytes(&bytes), Ok(record));
}

/// As many classes and fields as there may be, with names as long, and sealed values that fill their room.
fn longest_changes() -> Vec<ClassDiff> {
    ('a'..)
        .take(MAX_CLASSES)
        .map(|class| ClassDiff {
            class: format!("{class}{}", "\u{1}".repeat(62)).into(),
            sealed: vec![7; MAX_SEALED_VALUES / MAX_CLASSES].into(),
            fields: (0..MAX_FIELDS / MAX_CLASSES)
                .map(|n| FieldDiff {
                    name: format!("{}{n}", "f".repeat(62)).into(),
                    before: Stated::Commitment([7; 32]),
                    after: Stated::Commitment([8; 32]),
                })
                .collect(),
        })
        .collect()
}

#[test]
fn changes_beyond_their_bounds_are_refused() {
    let mut record = Record::from_bytes(FULL.as_bytes()).unwrap();
    let field =
        |n: usize| FieldDiff { name: format!("f{n:03}").into(), before: Stated::Illegible, after: Stated::Nothing };
    let class = |n: usize, fields: usize, sealed: usize| ClassDiff {
        class: format!("c{n:03}").into(),
        sealed: vec![0; sealed].into(),
        fields: (0..fields).map(field).collect(),
    };
    let rows = [
        ("fields", vec![class(0, MAX_FIELDS, 1)], vec![class(0, MAX_FIELDS + 1, 1)]),
        (
            "fields of two classes",
            vec![class(0, 8, 1), class(1, MAX_FIELDS - 8, 1)],
            vec![class(0, 8, 1), class(1, MAX_FIELDS - 7, 1)],
        ),
        (
            "classes",
            (0..MAX_CLASSES).map(|n| class(n, 1, 1)).collect(),
            (0..=MAX_CLASSES).map(|n| class(n, 1, 1)).collect(),
        ),
        ("sealed", vec![class(0, 1, MAX_SEALED_VALUES)], vec![class(0, 1, MAX_SEALED_VALUES + 1)]),
        (
            "sealed of two classes",
            vec![class(0, 1, MAX_SEALED_VALUES - 9), class(1, 1, 9)],
            vec![class(0, 1, MAX_SEALED_VALUES - 9), class(1, 1, 10)],
        ),
    ];
    for (name, fits, beyond) in rows {
        record.changes = fits;
        assert_eq!(Record::from_bytes(&record.to_bytes()).as_ref(), Ok(&record), "{name}");
        record.changes = beyond;
        assert_eq!(Record::from_bytes(&record.to_bytes()).map_err(|e| e.field()), Err("changes"), "{name}");
    }
}

#[test]
fn a_strangers_method_is_not_written_down() {
    for (method, expected) in
        [("GET", Method::Get), ("CONNECT", Method::Connect), ("other", Method::Other), ("JOHN-SMITH", Method::Other)]
    {
        assert_eq!(Method::from(&http::Method::from_bytes(method.as_bytes()).unwrap()), expected);
    }
}

/// A prune record, its statement cut out.
fn pruned(statement: &str) -> String {
    let with = format!("\"kind\":\"pruned\"{statement},\"signature\":\"\u{2014} a b\"}}");
    LEAST.replace("\"seq\":0", "\"seq\":20").replace("\"kind\":\"event\"}", &with)
}

#[test]
fn a_prune_record_says_in_one_way_what_may_go() {
    let with = |kept: &str| {
        pruned(&format!(r#","prune":{{"from":0,"below":20,"until":"1970-01-01T00:00:00.000000000Z"{kept}}}"#))
    };
    let good = with("");
    let read = Record::from_bytes(good.as_bytes()).unwrap();
    assert_eq!(read.signed_text(), good.replace(",\"signature\":\"\u{2014} a b\"", "") + "\n");
    let prune = read.prune().unwrap();
    assert_eq!((prune.from(), prune.below(), prune.covers(19), prune.covers(20)), (0, 20, true, false));
    for kept in ["0", "3", "3,5-9", "0-19", "1,3,5-6"] {
        let line = with(&format!(r#","kept":"{kept}""#));
        let read = Record::from_bytes(line.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(read.to_bytes()).unwrap(), line);
        assert!(!read.prune().unwrap().covers(kept.split([',', '-']).next().unwrap().parse().unwrap()), "{kept}");
    }
    for kept in [
        "",
        "x",
        "3-",
        "-3",
        "3-3",
        "5-3",
        "3,4",
        "3-5,6",
        "5,3",
        "3,3",
        "3-7,5",
        "03",
        "3,",
        ",3",
        " 3",
        "+3",
        "20",
        "3-20",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        let line = with(&format!(r#","kept":"{kept}""#));
        assert_eq!(Record::from_bytes(line.as_bytes()).map_err(|e| e.field()), Err("prune"), "{kept:?}");
    }
    let rows = [
        ("nothing", "\"below\":20", "\"below\":0", "prune"),
        ("itself", "\"below\":20", "\"below\":21", "prune"),
        ("what is to come", "1970-01-01T00:00:00.000000000Z\"}", "1970-01-01T00:00:00.000000001Z\"}", "prune"),
        ("a time of another form", "00.000000000Z\"}", "00Z\"}", "prune"),
        ("more fields", "},\"sig", ",\"x\":1},\"sig", "prune"),
        ("no signature", ",\"signature\":\"\u{2014} a b\"", "", "signature"),
        ("another kind", "\"pruned\"", "\"event\"", "prune"),
    ];
    for (name, from, to, field) in rows {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{name}");
        assert_eq!(Record::from_bytes(bad.as_bytes()).map_err(|e| e.field()), Err(field), "{name}");
    }
    assert_eq!(Record::from_bytes(pruned("").as_bytes()).map_err(|e| e.field()), Err("prune"));
    let signed = LEAST.replace("event\"}", "event\",\"signature\":\"x\"}");
    assert_eq!(Record::from_bytes(signed.as_bytes()).map_err(|e| e.field()), Err("signature"));
}

#[test]
fn what_stays_is_counted_and_cut() {
    let mut spans = Spans::default();
    [1, 2, 3, 7, 9, 10].into_iter().for_each(|number| spans.push(number));
    let ranges = |spans: &Spans| spans.ranges().collect::<Vec<_>>();
    assert_eq!(ranges(&spans), [(1, 3), (7, 7), (9, 10)]);
    assert_eq!((spans.count(2, 10), spans.count(0, 1), spans.count(4, 7)), (4, 0, 0));
    assert_eq!(ranges(&spans.slice(2, 8)), [(2, 3), (7, 7)]);
    assert!(spans.slice(4, 7).is_empty() && spans.slice(0, 0).is_empty());
    let (first, next) = spans.clone().cut(2 * 42, 100);
    assert_eq!((ranges(&first), next), (vec![(1, 3), (7, 7)], 9));
    assert_eq!(spans.clone().cut(1_000, 100).1, 100);
}

#[test]
fn what_is_left_of_a_record_has_one_spelling() {
    let hash = "0f".repeat(32);
    let good = format!(r#"{{"v":1,"index":1,"stream":"harbour","seq":0,"dropped":"{hash}"}}"#);
    let left = Dropped::from_bytes(good.as_bytes()).unwrap();
    assert!(Dropped::is(good.as_bytes()) && left.to_bytes() == good.as_bytes());
    assert!(!Dropped::is(LEAST.as_bytes()) && !Dropped::is(FULL.as_bytes()) && !Dropped::is(b""));
    let rows = [
        ("white space", "\"seq\":0", "\"seq\": 0", "seq"),
        ("leading zero", "\"index\":1", "\"index\":01", "index"),
        ("no clinic's name", "harbour", "HARBOUR", "stream"),
        ("upper case", "0f\"}", "0F\"}", "dropped"),
        ("a short hash", "0f0f\"}", "0f\"}", "dropped"),
        ("a long one", "0f\"}", "0f0f\"}", "dropped"),
        ("more", "\"}", "\",\"x\":1}", "record"),
        ("trailing bytes", "\"}", "\"}\n", "record"),
    ];
    for (name, from, to, field) in rows {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{name}");
        assert_eq!(Dropped::from_bytes(bad.as_bytes()).map_err(|e| e.field()), Err(field), "{name}");
    }
}

#[test]
fn a_purpose_is_a_word() {
    for good in ["treatment", "a", "break-glass.2", &"p".repeat(MAX_NAME)] {
        assert!(Purpose::new(good).is_ok(), "{good}");
    }
    for bad in ["", "Treatment", "1st", "seen by Jane", "a\n", &"p".repeat(MAX_NAME + 1)] {
        assert!(Purpose::new(bad).is_err(), "{bad}");
    }
}

fn word<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = Option<T>> {
    proptest::option::of(proptest::sample::select(all))
}

fn text(most: usize) -> impl Strategy<Value = Option<String>> {
    proptest::option::of("\\PC{0,20}|[\\x00-\\x7f]{0,20}".prop_filter("bounded", move |t| t.len() <= most))
}

fn id() -> impl Strategy<Value = Option<[u8; 16]>> {
    proptest::option::of(any::<[u8; 16]>())
}

fn stated() -> impl Strategy<Value = Stated> {
    prop_oneof![Just(Stated::Nothing), any::<[u8; 32]>().prop_map(Stated::Commitment), Just(Stated::Illegible)]
}

fn changes() -> impl Strategy<Value = Vec<ClassDiff>> {
    let value = || (stated(), stated()).prop_filter("a value", |both| *both != (Stated::Nothing, Stated::Nothing));
    let fields = proptest::collection::btree_map("[a-z0-9_]{1,63}", value(), 1..3);
    let section = (proptest::collection::vec(any::<u8>(), 1..80), fields);
    proptest::collection::btree_map("\\PC{1,10}", section, 1..3).prop_map(|sections| {
        let field = |(name, (before, after)): (String, _)| FieldDiff { name: name.into(), before, after };
        let section = |(class, (sealed, fields)): (String, (Vec<u8>, std::collections::BTreeMap<_, _>))| ClassDiff {
            class: class.into(),
            sealed: sealed.into(),
            fields: fields.into_iter().map(field).collect(),
        };
        sections.into_iter().map(section).collect()
    })
}

fn prune() -> impl Strategy<Value = Prune> {
    (any::<[u32; 2]>(), proptest::collection::vec(any::<u8>(), 0..8)).prop_map(|([from, more], kept)| {
        let (from, below) = (u64::from(from), u64::from(from) + u64::from(more) + 1);
        let mut spans = Spans::default();
        let (mut next, mut numbers) = (from, kept.into_iter());
        while let Some(step) = numbers.next().map(u64::from).filter(|step| next + step < below) {
            next += step;
            spans.push(next);
            next += 1;
        }
        Prune { from, below, until: Timestamp::UNIX_EPOCH, kept: spans }
    })
}

prop_compose! {
    fn record()(
        numbers in any::<(u64, u64, u64)>(),
        previous in any::<[u8; 32]>(),
        nanoseconds in -1_000_000_000_000_000_000_i128..9_000_000_000_000_000_000,
        tenant in proptest::option::of("[a-o][a-z0-9]{0,10}"),
        ids in (id(), id(), id(), id(), id(), id()),
        subjects in proptest::collection::vec(any::<[u8; 16]>(), 0..4),
        words in (proptest::sample::select(Kind::ALL), word(Action::ALL), word(Outcome::ALL), word(End::ALL), word(Method::ALL)),
        texts in (text(MAX_NAME), text(MAX_NAME), text(MAX_NAME), text(MAX_TEXT), text(MAX_WHY), text(MAX_NAME), text(MAX_TEXT), text(MAX_TEXT)),
        changes in changes(),
        purpose in proptest::option::of("[a-z][a-z0-9-]{0,10}"),
        counts in any::<(Option<u16>, Option<u64>, Option<u64>)>(),
        prune in prune(),
        signature in "\\PC{1,40}",
        peer in proptest::option::of(prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]),
    ) -> Record {
        Record {
            index: numbers.0,
            stream: tenant.map(|t| TenantId::new(&t).unwrap()).into(),
            // What may be dropped stands before.
            sequence: if words.0 == Kind::Pruned { numbers.1.max(prune.below) } else { numbers.1 },
            previous,
            at: Timestamp::from_nanosecond(nanoseconds).unwrap(),
            monotonic_ns: numbers.2,
            trail: ids.0.map(TrailId::from_bytes),
            kind: words.0,
            action: words.1,
            user: ids.1.map(UserId::from_bytes),
            about: ids.5.map(UserId::from_bytes),
            role: texts.0.map(Into::into),
            session: ids.2.map(SessionId::from_bytes),
            permission: texts.1.map(Into::into),
            entity: texts.2.map(Into::into),
            subjects: subjects.into_iter().map(SubjectId::from_bytes).collect(),
            row: ids.3.map(RowId::from_bytes),
            attempt: ids.4.map(AttemptId::from_bytes),
            changes: if words.0 == Kind::Changed { changes } else { Vec::new() },
            prune: (words.0 == Kind::Pruned).then(|| {
                let until = Timestamp::from_nanosecond(nanoseconds).unwrap();
                Box::new(Prune { until, ..prune })
            }),
            signature: (words.0 == Kind::Pruned).then(|| signature.into()),
            purpose: purpose.map(|p| Purpose::new(&p).unwrap()),
            reason: texts.3.map(Into::into),
            why: texts.4.map(Into::into),
            outcome: words.2,
            end: words.3,
            status: counts.0,
            bytes: counts.1,
            count: counts.2,
            peer,
            request: texts.5.map(Into::into),
            method: words.4,
            agent: texts.7.map(Into::into),
            route: texts.6.map(Into::into),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(record in record()) {
        let bytes = record.to_bytes();
        // Any JSON reader reads it too.
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        prop_assert_eq!(Record::from_bytes(&bytes), Ok(record));
    }

    #[test]
    fn what_is_read_is_what_would_be_written(record in record(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = record.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Record::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }
}
