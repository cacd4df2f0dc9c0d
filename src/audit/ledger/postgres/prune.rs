//! Bodies that go out of the table.

use super::{PostgresLedger, conn::Conn, home::signed};
use crate::audit::ledger::{
    LedgerError,
    retention::{Dropping, Drops},
};

/// Records that one statement looks at.
const PART: u64 = 16_384;

/// Asks the database to drop what each prune record covers. It looks into the record itself, and keeps what is too young
/// for it.
pub(super) fn drop_bodies(place: &PostgresLedger, drops: &Drops<'_>) -> Result<Dropping, LedgerError> {
    let database =
        |doing: &'static str| move |source: sqlx::Error| LedgerError::Database { doing, source: source.into() };
    let runtime = |source: std::io::Error| LedgerError::Database { doing: "start a runtime", source: source.into() };
    // A connection of its own: others read meanwhile.
    let mut conn = Conn::new(place.options.clone(), None).map_err(runtime)?;
    let mut done = Dropping::default();
    for (chain, cover) in drops.covers.iter().filter(|(chain, _)| !drops.held.contains(*chain)) {
        for (by, prune) in cover.numbered() {
            let statement = "select coalesce(min(idx), 0), coalesce(max(idx) + 1, 0) from {schema}.records
                where stream = $1 and seq >= $2 and seq < $3 and record is not null";
            let statement = place.statement(statement);
            let (name, from, below) = (chain.as_str(), signed(prune.from), signed(prune.below));
            let (first, end): (i64, i64) = conn
                .run(super::READING, async |conn| {
                    sqlx::query_as(statement).bind(name).bind(from).bind(below).fetch_one(conn).await
                })
                .map_err(database("look for old records"))?;
            let mut at = first.unsigned_abs();
            while at < end.unsigned_abs() {
                if !(drops.wanted)() {
                    return Ok(done);
                }
                let next = (at + PART).min(end.unsigned_abs());
                let statement = place.statement("select {schema}.prune($1, $2, $3, $4)");
                let gone: i64 = conn
                    .run(super::READING, async |conn| {
                        sqlx::query_scalar(statement)
                            .bind(name)
                            .bind(signed(by))
                            .bind(signed(at))
                            .bind(signed(next))
                            .fetch_one(conn)
                            .await
                    })
                    .map_err(database("drop old records"))?;
                done.dropped += gone.unsigned_abs();
                at = next;
            }
        }
    }
    Ok(done)
}
