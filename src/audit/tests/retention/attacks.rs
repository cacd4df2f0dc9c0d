//! What somebody who can write the files may do with what retention leaves.

use super::*;

/// A ledger of two clinics with a hold, all of it pruned, in several segments.
async fn pruned() -> (Place, Vec<Vec<u8>>) {
    let place = Place::new();
    let ledger = place.open();
    for person in 0..6 {
        write(&ledger, "harbour", person, 60).await;
        write(&ledger, "meadow", person, 60).await;
    }
    operator_holds(&ledger, true, "harbour", Some(2)).await;
    place.clock.advance(DAY * 366 * 8);
    write(&ledger, "harbour", 7, 20).await;
    let whole = lines(place.path());
    ledger.prune(&seven()).await.unwrap();
    write(&ledger, "harbour", 7, 20).await;
    ledger.shutdown().await;
    (place, whole)
}

/// Writes one line of the ledger otherwise, with lengths and checksums that fit.
pub(super) fn replace(dir: &Path, index: u64, make: impl FnOnce(&[u8]) -> Vec<u8>) {
    let (mut make, mut number) = (Some(make), 0);
    while let Ok(bytes) = std::fs::read(segment::path(dir, number)) {
        let mut header = Header::from_bytes(bytes[..HEADER].try_into().unwrap()).unwrap();
        let (mut out, mut at, mut changed) = (vec![0; HEADER], HEADER, false);
        while at + BATCH <= bytes.len()
            && let Some(found) = BatchHeader::from_bytes(bytes[at..at + BATCH].try_into().unwrap())
        {
            let mut frames = &bytes[at + BATCH..at + BATCH + found.length as usize];
            at += BATCH + found.length as usize;
            let (mut new, mut place) = (Vec::new(), found.first);
            while let Some((line, rest)) = segment::unframe(frames) {
                let line = match make.take_if(|_| place == index) {
                    Some(make) => make(line),
                    None => line.to_vec(),
                };
                changed |= place == index;
                new.extend(segment::frame(&line));
                new.extend(line);
                frames = rest;
                place += 1;
            }
            let head = BatchHeader { offset: out.len() as u32, length: new.len() as u32, ..found };
            out.extend(head.to_bytes());
            out.extend(new);
        }
        if changed {
            header.size = header.size.max(out.len() as u64);
            out.resize(header.size as usize, 0);
            out[..HEADER].copy_from_slice(&header.to_bytes());
            std::fs::write(segment::path(dir, number), out).unwrap();
        }
        number += 1;
    }
    assert!(make.is_none(), "there is no record {index}");
}

/// As retention leaves it.
pub(super) fn drop_line(line: &[u8]) -> Vec<u8> {
    let record = Record::from_bytes(line).unwrap();
    let left = Dropped {
        index: record.index(),
        stream: record.stream().clone(),
        sequence: record.sequence(),
        hash: leaf_hash(line),
    };
    left.to_bytes()
}

// proves CLA-18
#[tokio::test]
async fn a_body_that_goes_without_a_prune_record_that_covers_it_is_found_by_its_place() {
    type Edit = fn(&[u8]) -> Vec<u8>;
    let (place, whole) = pruned().await;
    let now = lines(place.path());
    let find = |wanted: &dyn Fn(&Record) -> bool, lines: &[Vec<u8>]| {
        let place = lines.iter().position(|line| Record::from_bytes(line).is_ok_and(|record| wanted(&record)));
        place.unwrap() as u64
    };
    assert!(now.len() > whole.len() && now.iter().filter(|line| is_dropped(line)).count() > 600);
    let held = find(&|r| r.subjects() == [subject(2)], &now);
    let young = find(&|r| r.subjects() == [subject(7)], &now);
    let prune = find(&|r| r.prune().is_some() && r.stream().as_str() == "harbour", &now);
    let first = now.iter().position(|line| is_dropped(line)).unwrap() as u64;
    let rows: &[(&str, u64, Edit, (u64, Fault))] = &[
        ("a held body goes", held, drop_line, (held, Fault::Deleted)),
        ("a second one behind it", held + 2, drop_line, (held + 2, Fault::Deleted)),
        ("a young body goes", young, drop_line, (young, Fault::Deleted)),
        ("the prune record itself goes", prune, drop_line, (first, Fault::Deleted)),
        (
            "another hash",
            first,
            |line| {
                let mut left = Dropped::from_bytes(line).unwrap();
                left.hash[0] ^= 1;
                left.to_bytes()
            },
            (first, Fault::Edited),
        ),
        (
            "another number in the chain",
            first + 3,
            |line| {
                let left = Dropped::from_bytes(line).unwrap();
                Dropped { sequence: left.sequence + 1, ..left }.to_bytes()
            },
            (first + 3, Fault::Inserted),
        ),
        (
            "another clinic's",
            first + 3,
            |line| {
                Dropped { stream: Stream::Tenant(tenant("meadow")), ..Dropped::from_bytes(line).unwrap() }.to_bytes()
            },
            (first + 3, Fault::Inserted),
        ),
        (
            "another index",
            first + 3,
            |line| {
                let left = Dropped::from_bytes(line).unwrap();
                Dropped { index: left.index + 1, ..left }.to_bytes()
            },
            (first + 3, Fault::Deleted),
        ),
        ("not canonical", first, |line| [line, b" "].concat(), (first, Fault::Edited)),
        (
            "a body that was never there",
            first,
            |_| {
                let mut record = Record::from_bytes(&lines_of_nobody()).unwrap();
                record.stream = Stream::Tenant(tenant("harbour"));
                record.to_bytes()
            },
            (first, Fault::Edited),
        ),
    ];
    let copy = TempDir::new().unwrap();
    for (name, index, edit, (at, kind)) in rows {
        copy_folder(place.path(), copy.path());
        replace(copy.path(), *index, edit);
        let found = verify(copy.path()).expect_err(name);
        let near = found.index().abs_diff(*at) <= 3 && *kind == Fault::Edited;
        assert!(
            (found.index(), found.kind()) == (*at, *kind) || near && found.kind() == *kind,
            "{name}: {found:?} at {at}"
        );
        // A server does not go on with it.
        assert!(Ledger::open(copy.path(), place.options(), place.clock.shared()).is_err(), "{name}");
    }
}

/// A first record of nobody.
fn lines_of_nobody() -> Vec<u8> {
    Record::empty(Kind::Event, Stream::Platform, clock().shared().now(), Duration::ZERO).to_bytes()
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    for file in std::fs::read_dir(to).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_prune_record_of_somebody_elses_is_found_by_its_signature() {
    // Somebody who can write the files, and has another key.
    let place = Place::new();
    let ledger = place.open();
    write(&ledger, "harbour", 1, 3).await;
    ledger.shutdown().await;
    place.clock.advance(DAY * 10);
    let theirs = place.options().with_signer(CheckpointSigner::generate(NAME).unwrap());
    std::fs::remove_file(place.path().join("ledger.checkpoint")).unwrap();
    let forged = Ledger::open(place.path(), theirs, place.clock.shared()).unwrap();
    place.clock.advance(DAY * 366 * 8);
    assert_eq!(forged.prune(&seven()).await.unwrap().bodies(), 4);
    forged.shutdown().await;
    drop(forged);
    std::fs::remove_file(place.path().join("ledger.checkpoint")).unwrap();
    assert_eq!(verify(place.path()).unwrap().dropped(), 4, "without the key nothing tells");
    // A restart with the true key is what would sign over it.
    let error = Ledger::open(place.path(), place.options(), place.clock.shared()).unwrap_err();
    assert!(
        matches!(error, crate::audit::LedgerError::Damaged(found) if (found.index(), found.kind()) == (4, Fault::ForeignKey))
    );
    let found = verify_with(place.path(), &Known::new().with_keys(place.keys())).unwrap_err();
    assert_eq!((found.index(), found.kind()), (4, Fault::ForeignKey));
}

#[test]
fn a_prune_record_holds_in_its_own_place_alone() {
    let signer = CheckpointSigner::generate(NAME).unwrap();
    let keys = CheckpointVerifier::new(signer.verifier_key().clone()).unwrap();
    let mut record = Record::from_bytes(&lines_of_nobody()).unwrap();
    record.kind = Kind::Pruned;
    record.stream = Stream::Tenant(tenant("harbour"));
    (record.index, record.sequence) = (50, 9);
    let prune = Prune { from: 0, below: 9, until: record.at, kept: Spans::default() };
    record.prune = Some(Box::new(prune));
    record.signature = Some(signer.sign_line(&record.signed_text()).into());
    let holds = |record: &Record| {
        let read = Record::from_bytes(&record.to_bytes()).ok();
        read.is_some_and(|record| keys.verify_prune(&record).is_ok())
    };
    assert!(holds(&record));
    type Change = fn(&mut Record);
    let others: &[(&str, Change)] = &[
        ("another chain", |r| r.stream = Stream::Tenant(tenant("meadow"))),
        ("another index", |r| r.index += 1),
        ("another number", |r| r.sequence += 1),
        ("after another record", |r| r.previous = [1; 32]),
        ("more", |r| r.prune.as_mut().unwrap().below = 8),
        ("another time", |r| r.at += jiff::SignedDuration::from_secs(1)),
        ("what stays", |r| r.prune.as_mut().unwrap().kept.push(3)),
        ("no signature", |r| r.signature = None),
        ("a signature of one letter", |r| r.signature = Some("x".into())),
        ("of a checkpoint", |r| {
            let signer = CheckpointSigner::generate(NAME).unwrap();
            let note = signer.sign(crate::audit::Head::new(3, [7; 32]));
            r.signature = note.lines().last().map(Into::into);
        }),
    ];
    for (name, change) in others {
        let mut other = record.clone();
        change(&mut other);
        assert!(!holds(&other), "{name}");
    }
}
