//! SQL that is put into every text which the clinic takes, on PostgreSQL: by a corpus of this project's own, and by sqlmap. The
//! same finds the hole that is planted behind the same stack.

mod corpus;
mod document;
mod planted;
mod runner;
mod served;
mod sqlmap;
mod stage;

use std::{cell::RefCell, collections::BTreeSet};

use http::Method;
use tokio::time::Instant;

use self::{
    document::Operation,
    runner::{Outcome, Share, Sign, Target as _, attack},
    stage::Stage,
};
use crate::process::is_long;

/// With `TOWER_WARD_LONG=sqlmap` every payload in every place; else a third of them in each, and each in a third.
// proves GLM-31
#[tokio::test]
async fn no_text_that_the_clinic_takes_is_run_as_sql() {
    let stage = Stage::start().await;
    let operations = stage.operations();
    // The requests are ones that the clinic serves, or the payloads would be refused for another reason.
    for operation in &operations {
        let valid = stage.valid(operation, None).await;
        let answer = stage.send(operation, &valid).await.unwrap();
        let text = String::from_utf8_lossy(&answer.body);
        assert!((200..300).contains(&answer.status), "{operation}: {} {text}: {valid:?}", answer.status);
    }
    let others = "tenant <> 'harbour'";
    let before = stage.census(others).await;
    let began = Instant::now();
    let all = RefCell::new(Outcome::default());
    let of = if is_long("sqlmap") { 1 } else { 3 };
    // The ledger first, for it is read to its end where nothing is found, and each request makes it longer. What writes
    // comes last, for it stands in lists.
    let turn = |operation: &Operation| match operation.method {
        Method::GET => usize::from(operation.path != "/api/ledger"),
        _ => 2,
    };
    for this in 0..3 {
        let mut before = 0;
        let mut some = Vec::new();
        for operation in &operations {
            if turn(operation) == this {
                some.push((operation, Share { of, before }));
            }
            before += operation.places.len();
        }
        let next = RefCell::new(some.into_iter());
        let worker = async || {
            loop {
                let Some((operation, share)) = next.borrow_mut().next() else { return };
                let outcome = attack(&stage, operation, share).await;
                all.borrow_mut().add(outcome);
            }
        };
        tokio::join!(worker(), worker(), worker(), worker());
    }
    let outcome = all.into_inner();
    let places: usize = operations.iter().map(|operation| operation.places.len()).sum();
    println!(
        "injection: {} cases, of {} payloads one in {of} in each of {places} places of {} operations, {} of them taken as text, {} that no request can hold; {} s",
        outcome.cases,
        corpus::size() + 1,
        operations.len(),
        outcome.taken,
        outcome.unwritten,
        began.elapsed().as_secs(),
    );
    assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    assert!(
        outcome.cases >= 25_000 / of && outcome.taken >= 4_000 / of && operations.len() >= 60 && places >= 175,
        "{outcome:?}"
    );
    assert_eq!(stage.census(others).await, before, "what other clinics have has changed");
    assert_eq!(stage.watch().await, None);
}

// proves GLM-31: the corpus and its signs see an injection where there is one.
#[tokio::test]
async fn a_planted_hole_is_found_by_the_corpus_and_shows_one_clinic() {
    let stage = Stage::start().await;
    let hole = stage.hole();
    let before = stage.census("true").await;
    let outcome = attack(&stage, &hole, Share::ALL).await;
    let signs = outcome.signs();
    println!("injection, planted: {} cases, {} findings: {signs:?}", outcome.cases, outcome.findings.len());
    // By each sign of a hole, and none of a wall that fell: the hole shows what its own clinic has.
    let expected = BTreeSet::from([Sign::Status, Sign::Error, Sign::Boolean, Sign::Time]);
    assert_eq!(signs, expected, "{:#?}", outcome.findings);
    assert_eq!(stage.census("true").await, before, "a hole in what reads has changed something");
}

#[test]
fn no_payload_is_taken_for_an_error_and_pairs_differ_in_one_character() {
    runner::check();
}
