//! Bodies that go out of the table.

use super::{
    PostgresLedger, READING,
    conn::{Conn, PATIENCE},
    home::signed,
};
use crate::audit::{
    ledger::{
        LedgerError,
        retention::{Dropping, Drops},
    },
    record::{Prune, Stream},
};

/// Numbers of a chain that one statement looks at.
const PART: u64 = 16_384;

fn connect(place: &PostgresLedger) -> Result<Conn, LedgerError> {
    let runtime = |source: std::io::Error| LedgerError::Database { doing: "start a runtime", source: source.into() };
    Conn::new(place.options.clone(), None).map_err(runtime)
}

fn database(doing: &'static str) -> impl Fn(sqlx::Error) -> LedgerError {
    move |source| LedgerError::Database { doing, source: source.into() }
}

/// The right to prune, of one session at a time; `None` if another one has it.
pub(super) fn turn(place: &PostgresLedger) -> Result<Option<Box<dyn std::any::Any>>, LedgerError> {
    let mut conn = connect(place)?;
    let statement = "select pg_try_advisory_lock(hashtext('tower-ward prune'), hashtext($1))";
    let mine: bool = conn
        .run(PATIENCE, async |conn| sqlx::query_scalar(statement).bind(&place.schema).fetch_one(conn).await)
        .map_err(database("ask whether somebody else prunes"))?;
    Ok(mine.then(|| Box::new(conn) as Box<dyn std::any::Any>))
}

/// Asks the database to drop what each prune record covers. It looks into the record itself, and keeps what is too young
/// for it.
pub(super) fn drop_bodies(place: &PostgresLedger, drops: &Drops<'_>) -> Result<Dropping, LedgerError> {
    // A connection of its own: others read meanwhile.
    let mut conn = connect(place)?;
    let mut done = Dropping::default();
    for (chain, cover) in drops.covers.iter().filter(|(chain, _)| !(drops.spared)(chain)) {
        for (by, prune) in cover.numbered().filter(|(_, prune)| cover.left(prune) > 0) {
            if !drop_part(place, &mut conn, drops, (chain, by, prune), &mut done.dropped)? {
                done.skipped.push(chain.clone());
                break;
            }
        }
    }
    Ok(done)
}

/// What one prune record covers; `false` if something speaks against it.
fn drop_part(
    place: &PostgresLedger,
    conn: &mut Conn,
    drops: &Drops<'_>,
    (chain, by, prune): (&Stream, u64, &Prune),
    dropped: &mut u64,
) -> Result<bool, LedgerError> {
    for (from, below) in parts(drops, chain, prune) {
        if !(drops.wanted)() || (drops.spared)(chain) {
            return Ok(false);
        }
        let statement = place.statement("select {schema}.prune($1, $2, $3, $4)");
        let gone: i64 = conn
            .run(READING, async |conn| {
                let asked = sqlx::query_scalar(statement).bind(chain.as_str()).bind(signed(by));
                asked.bind(signed(from)).bind(signed(below)).fetch_one(conn).await
            })
            .map_err(database("drop old records"))?;
        let Ok(gone) = u64::try_from(gone) else { return Ok(false) };
        *dropped += gone;
    }
    Ok(true)
}

/// The ranges of numbers that are asked for: all of the prune record's, or of a copy, those that the ledger has dropped.
fn parts(drops: &Drops<'_>, chain: &Stream, prune: &Prune) -> Vec<(u64, u64)> {
    #[cfg(feature = "checkpoint")]
    let ranges = match drops.pruned {
        Some(pruned) => pruned.ranges(chain, prune),
        None => vec![(prune.from, prune.below)],
    };
    #[cfg(not(feature = "checkpoint"))]
    let ranges = {
        let _ = (drops, chain);
        vec![(prune.from, prune.below)]
    };
    let split = |(from, below): (u64, u64)| {
        (from..below).step_by(usize::try_from(PART).unwrap_or(usize::MAX)).map(move |at| (at, (at + PART).min(below)))
    };
    ranges.into_iter().flat_map(split).collect()
}
