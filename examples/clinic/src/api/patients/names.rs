//! Finding a patient by the words of their name, which are sealed.
//!
//! 1. A word is what white space separates. Hyphens and apostrophes are parts of it.
//! 2. Each word of the given and of the family name has a row with its blind index, written in the transaction that
//!    writes the name.
//! 3. Words are equal as the index says (`docs/format.md`): case and composition do not matter, accents do.

use tower_ward::{
    access::Indexer,
    field::{BlindIndex, IndexError},
    id::SubjectId,
    problem::Problem,
};

use crate::{
    data::{Sql, Tx, sql},
    model::{
        Identity,
        patients::{Family, Given},
    },
};

/// Restricts a query over `patients p` to those with this word in their name.
pub(super) fn filter(query: &mut Sql, word: &String, scope: &impl Indexer<Identity>) -> Result<(), IndexError> {
    query.push(" and p.id in (select patient from patient_names where word in (");
    query.push_bind(BlindIndex::<Given>::of(word, scope)?).push(", ");
    query.push_bind(BlindIndex::<Family>::of(word, scope)?).push("))");
    Ok(())
}

/// Indexes the words of a patient's whole name, instead of those that were indexed before.
pub(super) async fn index(
    tx: &mut impl Tx,
    chart: &(impl Indexer<Identity> + Sync),
    patient: SubjectId,
    given: &str,
    family: &str,
) -> Result<(), Problem> {
    let mut words = Vec::new();
    for word in given.split_whitespace() {
        words.push(*BlindIndex::<Given>::of(&word.to_owned(), chart).map_err(no_index)?.as_bytes());
    }
    for word in family.split_whitespace() {
        words.push(*BlindIndex::<Family>::of(&word.to_owned(), chart).map_err(no_index)?.as_bytes());
    }
    sql("delete from patient_names where patient = $1").bind(patient).execute(tx).await?;
    for word in words {
        // A name may hold a word twice.
        sql("insert into patient_names (patient, word) values ($1, $2) on conflict do nothing")
            .bind(patient)
            .bind(word.to_vec())
            .execute(tx)
            .await?;
    }
    Ok(())
}

fn no_index(_: IndexError) -> Problem {
    Problem::internal().with_reason("a name has no index")
}
