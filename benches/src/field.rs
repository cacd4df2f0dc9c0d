//! Sealed columns and blind indexes, against the primitives that they stand on.

use std::error::Error;

use sha2::{Digest, Sha256};
use tower_ward::{
    access::{Cohort, CohortQuery, Scope},
    audit::Closer,
    field::{BlindIndex, Encrypted},
    id::{RowId, SubjectId},
};

use crate::{
    bench::{Attachment, Bench, Family, NoteText, WriteNotes},
    ratio::{Effort, Row, Target, row},
    raw::{NAME, Raw},
};

/// 56 bytes, as the associated data of the format has about.
const AAD: [u8; 56] = [7; 56];

pub(crate) async fn rows(effort: Effort) -> Vec<Row> {
    let bench = Bench::new().await;
    let (chart, _closer) = bench.chart::<WriteNotes>().await;
    let id = RowId::generate(&*bench.clock);
    let raw = Raw::new(&[3; 32]);
    let mut counter = 0_u64;
    let mut iv = move || {
        counter += 1;
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&counter.to_le_bytes());
        bytes
    };
    let mut rows = Vec::new();

    let text = "x".repeat(64);
    let mut buffer = [0_u8; 64];
    rows.push(row(
        effort,
        &format!("seal 64 B / raw {NAME} in place, counter IV"),
        Target::AtMost(1.35),
        || raw.seal(iv(), &AAD, &mut buffer),
        || Encrypted::<NoteText>::seal(&text, &chart, id).expect("sealed"),
    ));
    let sealed = Encrypted::<NoteText>::seal(&text, &chart, id).expect("sealed");
    let mut plain = [b'x'; 64];
    let tag = raw.seal([9; 12], &AAD, &mut plain);
    let open = || {
        let mut copy = plain;
        raw.open([9; 12], &AAD, &mut copy, &tag);
        copy
    };
    rows.push(row(effort, &format!("open 64 B, lent / raw {NAME} in place"), Target::AtMost(1.15), open, || {
        sealed.disclose_with(&chart, id, String::len).expect("opened")
    }));
    rows.push(row(effort, &format!("open 64 B, given away / raw {NAME} in place"), Target::None, open, || {
        sealed.open(&chart, id).expect("opened")
    }));

    let attachment = vec![5_u8; 64 << 10];
    let mut large = attachment.clone();
    rows.push(row(
        effort,
        &format!("seal 64 KiB / raw {NAME} in place"),
        Target::AtMost(if cfg!(feature = "aws-lc") { 1.3 } else { 1.05 }),
        || raw.seal([1; 12], &AAD, &mut large),
        || Encrypted::<Attachment>::seal(&attachment, &chart, id).expect("sealed"),
    ));

    rows.push(bulk(effort, &bench).await);

    let family = "quillfeather-featherstonehaugh-a".to_owned();
    rows.push(row(
        effort,
        "blind index of 32 B / two compressions of SHA-256",
        Target::AtMost(1.45),
        || (Sha256::digest([1_u8; 32]), Sha256::digest([2_u8; 32])),
        || BlindIndex::<Family>::of(&family, &chart).expect("indexed"),
    ));
    rows
}

/// How many people a cohort has at most.
const COHORT: usize = 500;

/// A note of each of 1,000 people, whose keys the keyring holds, by two cohorts.
async fn bulk(effort: Effort, bench: &Bench) -> Row {
    let text = "x".repeat(64);
    let first = open_cohort(bench, &text).await;
    let second = open_cohort(bench, &text).await;
    let raw: Vec<_> = (0..2 * COHORT)
        .map(|n| {
            let mut key = [3; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            let mut note = [b'x'; 64];
            let tag = Raw::new(&key).seal([9; 12], &AAD, &mut note);
            (key, note, tag)
        })
        .collect();
    row(
        effort,
        &format!("open 1,000 rows of 1,000 people / raw {NAME}: key schedules and opens"),
        Target::AtMost(1.2),
        || {
            raw.iter().fold(0, |sum, (key, note, tag)| {
                let mut copy = *note;
                Raw::new(key).open([9; 12], &AAD, &mut copy, tag);
                sum + usize::from(copy[63])
            })
        },
        || {
            [&first.0, &second.0].into_iter().flat_map(Cohort::iter).fold(0, |sum, (note, chart)| {
                let text = note.text.open(chart, note.row).expect("opened").disclose();
                sum + text.len()
            })
        },
    )
}

async fn open_cohort(bench: &Bench, text: &String) -> (Cohort<WriteNotes, Note>, Closer) {
    let (trail, closer) = bench.trail();
    let grant = bench.grant::<WriteNotes>(&trail);
    let mut notes = Vec::new();
    for _ in 0..COHORT {
        let chart = grant.admit().await.expect("admitted");
        let row = RowId::generate(&*bench.clock);
        let text = Encrypted::seal(text, &chart, row).expect("sealed");
        notes.push(Note { subject: chart.subject(), row, text });
    }
    (grant.cohort(Notes(notes)).await.expect("a cohort"), closer)
}

struct Note {
    subject: SubjectId,
    row: RowId,
    text: Encrypted<NoteText>,
}

/// A query that has its rows already.
struct Notes(Vec<Note>);

impl CohortQuery<WriteNotes> for Notes {
    type Row = Note;

    fn subject(row: &Note) -> SubjectId {
        row.subject
    }

    async fn rows(self, _: &Scope<WriteNotes>) -> Result<Vec<Note>, Box<dyn Error + Send + Sync>> {
        Ok(self.0)
    }
}
