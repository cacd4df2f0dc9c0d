//! The ledger in PostgreSQL, against rows that are inserted one by one into the same server.

#[expect(dead_code, clippy::unwrap_used, reason = "it is the tests', which do more with it")]
#[path = "../../tests/it/postgres/server.rs"]
pub(crate) mod server;

use std::time::{Duration, Instant};

use server::Postgres;
use sqlx::{Connection as _, PgConnection};
use tower_ward::{
    audit::{Ledger, LedgerOptions, PostgresSink, Sinks},
    clock::SystemClock,
};

use crate::{
    bench::Bench,
    ledger::{RECORD, Turn, nanos, per_second, producers},
    ratio::{Row, Target, median},
};

const PRODUCERS: usize = 64;

/// The ledger's home there, and a folder with a copy there that is required.
pub(crate) async fn rows(bench: &Bench, rounds: usize, turn: Duration) -> Vec<Row> {
    let server = Postgres::start();
    let place = server.place();
    let copy = place.clone().with_schema("copy").expect("a name");
    let script = copy.schema("writer").expect("a name");
    server.as_role("keeper", |mut conn| async move {
        sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut conn).await.expect("the tables");
    });
    server.sql(
        "create table plain (id bigint generated always as identity primary key, record bytea not null);
         grant insert on plain to writer",
    );
    let mut plain = Plain::connect(&server.url("writer")).await;
    let home = Ledger::open_postgres(&place, Sinks::new(), LedgerOptions::new(), SystemClock::shared());
    let home = home.await.expect("a ledger");
    let sinks = Sinks::new().add_required("copy", PostgresSink::new(&copy).expect("a sink"));
    let folder = bench.folder.path().join("copied");
    let copied = Ledger::open_with(&folder, sinks, LedgerOptions::new(), SystemClock::shared()).expect("a ledger");
    let mut measured = Vec::new();
    for _ in 0..rounds {
        measured.push(Round {
            single: plain.turn(turn).await.rate,
            batches: plain.batches(turn).await,
            home: producers(&home, &bench.tenant, PRODUCERS, turn).await.rate,
            copied: producers(&copied, &bench.tenant, PRODUCERS, turn).await.rate,
        });
    }
    home.shutdown().await;
    copied.shutdown().await;
    let row = |what: &str, target: Target, floor: Rate, ours: Rate| Row {
        what: what.to_owned(),
        floor: per_second(median(measured.iter().map(floor))),
        ours: per_second(median(measured.iter().map(ours))),
        ratio: median(measured.iter().map(|m| ours(m) / floor(m))),
        target,
    };
    let least = Target::AtLeast(4.0);
    vec![
        row(
            "in PostgreSQL, 64 producers / 64 connections that insert single rows there",
            least,
            |m| m.single,
            |m| m.home,
        ),
        row(
            "a folder and a required copy in PostgreSQL, 64 producers / 64 connections that insert single rows there",
            least,
            |m| m.single,
            |m| m.copied,
        ),
        row(
            "in PostgreSQL, 64 producers / one connection that inserts 64 rows at a time",
            Target::None,
            |m| m.batches,
            |m| m.home,
        ),
    ]
}

/// Records or rows in a second, of one round.
struct Round {
    single: f64,
    batches: f64,
    home: f64,
    copied: f64,
}

type Rate = fn(&Round) -> f64;

/// Connections, each of which inserts a row and waits until it is durable.
struct Plain(Vec<PgConnection>);

impl Plain {
    async fn connect(url: &str) -> Self {
        let mut conns = Vec::new();
        for _ in 0..PRODUCERS {
            let mut conn = PgConnection::connect(url).await.expect("a connection");
            sqlx::query("set synchronous_commit = on").execute(&mut conn).await.expect("set");
            conns.push(conn);
        }
        Self(conns)
    }

    async fn turn(&mut self, turn: Duration) -> Turn {
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for mut conn in self.0.drain(..) {
            tasks.spawn(async move {
                let mut waits = Vec::new();
                while start.elapsed() < turn || waits.is_empty() {
                    let begun = Instant::now();
                    let insert = sqlx::query("insert into plain (record) values ($1)").bind([7_u8; RECORD].as_slice());
                    insert.execute(&mut conn).await.expect("inserted");
                    waits.push(nanos(begun));
                }
                (conn, waits)
            });
        }
        let (conns, waits): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().unzip();
        self.0 = conns;
        Turn::of(waits.concat(), start.elapsed())
    }
    /// Rows per second of one of them that inserts as many at a time as there are producers.
    async fn batches(&mut self, turn: Duration) -> f64 {
        let (start, mut waits) = (Instant::now(), Vec::new());
        let rows = vec![[7_u8; RECORD].as_slice(); PRODUCERS];
        while start.elapsed() < turn || waits.is_empty() {
            let begun = Instant::now();
            let insert = sqlx::query("insert into plain (record) select * from unnest($1::bytea[])").bind(&rows);
            insert.execute(&mut self.0[0]).await.expect("inserted");
            waits.push(nanos(begun));
        }
        #[expect(clippy::cast_precision_loss, reason = "64")]
        let each = PRODUCERS as f64;
        Turn::of(waits, start.elapsed()).rate * each
    }
}
