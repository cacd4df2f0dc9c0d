//! Statements that every backend takes.

use std::future::poll_fn;

use sqlx::{
    AssertSqlSafe, Encode, FromRow, Postgres, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArguments, PgRow, PgTypeInfo},
    sqlite::{SqliteArguments, SqliteRow},
};
use tower_ward::{
    db::Condition,
    field::{BlindIndex, Column, Encrypted, Indexed},
    id::{RowId, SubjectId, UserId},
    problem::Problem,
};
use uuid::Uuid;

use super::{Conn, Tx};

/// A statement failed. Names no value; its client sees that the database cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("the clinic's database refused a statement")]
pub struct QueryError(#[source] sqlx::Error);

impl From<QueryError> for Problem {
    fn from(_: QueryError) -> Self {
        Self::unavailable().with_reason("the clinic's file")
    }
}

impl From<QueryError> for sqlx::Error {
    fn from(error: QueryError) -> Self {
        error.0
    }
}

/// What a statement's row becomes, on every backend.
pub(crate) trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}

impl<T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin> Row for T {}

/// What is bound to a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Bool(bool),
    Text(Option<String>),
    Id(Option<Uuid>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! values {
    ($($type:ty => $kind:ident($value:ident => $into:expr);)+) => { $(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                Self::$kind(Some($into))
            }
        }

        impl From<Option<$type>> for Value {
            fn from(value: Option<$type>) -> Self {
                Self::$kind(value.map(|$value| $into))
            }
        }
    )+ };
}

values! {
    i64 => Int(value => value);
    &str => Text(value => value.to_owned());
    String => Text(value => value);
    Uuid => Id(value => value);
    SubjectId => Id(value => value.into());
    RowId => Id(value => value.into());
    UserId => Id(value => value.into());
    Vec<u8> => Bytes(value => value);
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl<C: Column> From<Encrypted<C>> for Value {
    fn from(value: Encrypted<C>) -> Self {
        Self::Bytes(Some(value.as_bytes().to_vec()))
    }
}

impl<C: Column> From<&Encrypted<C>> for Value {
    fn from(value: &Encrypted<C>) -> Self {
        Self::Bytes(Some(value.as_bytes().to_vec()))
    }
}

impl<C: Column> From<&Option<Encrypted<C>>> for Value {
    fn from(value: &Option<Encrypted<C>>) -> Self {
        Self::Bytes(value.as_ref().map(|value| value.as_bytes().to_vec()))
    }
}

impl<C: Column> From<Option<Encrypted<C>>> for Value {
    fn from(value: Option<Encrypted<C>>) -> Self {
        Self::Bytes(value.map(|value| value.as_bytes().to_vec()))
    }
}

impl<C: Indexed> From<BlindIndex<C>> for Value {
    fn from(value: BlindIndex<C>) -> Self {
        Self::Bytes(Some(value.as_bytes().to_vec()))
    }
}

impl Type<Sqlite> for Value {
    fn type_info() -> sqlx::sqlite::SqliteTypeInfo {
        <[u8] as Type<Sqlite>>::type_info()
    }
}

impl<'q> Encode<'q, Sqlite> for Value {
    fn encode_by_ref(&self, buf: &mut <Sqlite as sqlx::Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match self {
            Self::Int(value) => Encode::<Sqlite>::encode_by_ref(value, buf),
            Self::Bool(value) => Encode::<Sqlite>::encode_by_ref(value, buf),
            Self::Text(value) => Encode::<Sqlite>::encode_by_ref(value, buf),
            Self::Id(value) => Encode::<Sqlite>::encode(value.map(|id| id.into_bytes().to_vec()), buf),
            Self::Bytes(value) => Encode::<Sqlite>::encode_by_ref(value, buf),
        }
    }
}

impl Type<Postgres> for Value {
    /// Of a value whose type is not asked; each says its own.
    fn type_info() -> PgTypeInfo {
        <[u8] as Type<Postgres>>::type_info()
    }
}

impl<'q> Encode<'q, Postgres> for Value {
    fn encode_by_ref(&self, buf: &mut <Postgres as sqlx::Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match self {
            Self::Int(value) => Encode::<Postgres>::encode_by_ref(value, buf),
            Self::Bool(value) => Encode::<Postgres>::encode_by_ref(value, buf),
            Self::Text(value) => Encode::<Postgres>::encode_by_ref(value, buf),
            Self::Id(value) => Encode::<Postgres>::encode_by_ref(value, buf),
            Self::Bytes(value) => Encode::<Postgres>::encode_by_ref(value, buf),
        }
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(match self {
            Self::Int(_) => <i64 as Type<Postgres>>::type_info(),
            Self::Bool(_) => <bool as Type<Postgres>>::type_info(),
            Self::Text(_) => <str as Type<Postgres>>::type_info(),
            Self::Id(_) => <Uuid as Type<Postgres>>::type_info(),
            Self::Bytes(_) => <[u8] as Type<Postgres>>::type_info(),
        })
    }
}

/// A statement: its text, which the program wrote, and the values bound to its parameters.
///
/// A fixed text numbers its parameters itself, and [`bind`](Self::bind) binds them in their order. A text that is put
/// together is numbered by [`push_bind`](Self::push_bind). Both may follow each other.
#[derive(Debug, Clone)]
#[must_use = "a statement does nothing until it is run"]
pub(crate) struct Sql {
    text: String,
    values: Vec<Value>,
}

/// A statement with this text.
pub(crate) fn sql(text: &'static str) -> Sql {
    Sql { text: text.to_owned(), values: Vec::new() }
}

impl Sql {
    /// Binds the next parameter that the text already names.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Goes on with this text.
    pub(crate) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Goes on with a parameter, and binds it.
    pub(crate) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// Runs it, and says how many rows it changed.
    pub(crate) async fn execute(self, tx: &mut (impl Tx + ?Sized)) -> Result<u64, QueryError> {
        let done = match tx.conn() {
            Conn::Sqlite(conn) => self.sqlite().execute(conn).await.map(|done| done.rows_affected()),
            Conn::Postgres(conn) => self.postgres().execute(conn).await.map(|done| done.rows_affected()),
        };
        done.map_err(QueryError)
    }

    /// Whether it finds a row.
    pub(crate) async fn finds(self, tx: &mut (impl Tx + ?Sized)) -> Result<bool, QueryError> {
        let found = match tx.conn() {
            Conn::Sqlite(conn) => self.sqlite().fetch_optional(conn).await.map(|row| row.is_some()),
            Conn::Postgres(conn) => self.postgres().fetch_optional(conn).await.map(|row| row.is_some()),
        };
        found.map_err(QueryError)
    }

    /// Its row, if it finds one.
    pub(crate) async fn fetch_optional<T: Row>(self, tx: &mut impl Tx) -> Result<Option<T>, QueryError> {
        let row = match tx.conn() {
            Conn::Sqlite(conn) => self.sqlite_rows::<T>().fetch_optional(conn).await,
            Conn::Postgres(conn) => self.postgres_rows::<T>().fetch_optional(conn).await,
        };
        row.map_err(QueryError)
    }

    /// All of its rows.
    pub(crate) async fn fetch_all<T: Row>(self, tx: &mut impl Tx) -> Result<Vec<T>, QueryError> {
        let rows = match tx.conn() {
            Conn::Sqlite(conn) => self.sqlite_rows::<T>().fetch_all(conn).await,
            Conn::Postgres(conn) => self.postgres_rows::<T>().fetch_all(conn).await,
        };
        rows.map_err(QueryError)
    }

    /// Gives its rows to `take`, one after the other and as long as it wants more. None is kept.
    pub(crate) async fn fetch_while<T: Row, E: From<QueryError>>(
        self,
        tx: &mut impl Tx,
        mut take: impl FnMut(T) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut rows = match tx.conn() {
            Conn::Sqlite(conn) => self.sqlite_rows::<T>().fetch(conn),
            Conn::Postgres(conn) => self.postgres_rows::<T>().fetch(conn),
        };
        while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
            if !take(row.map_err(QueryError)?)? {
                break;
            }
        }
        Ok(())
    }
}

impl Sql {
    /// Whether its parameters are those that are bound. One that is not SQLite takes for null, and PostgreSQL refuses.
    fn names_what_is_bound(&self) -> bool {
        let number =
            |after: &str| after.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse::<usize>().ok());
        self.text.split('$').skip(1).filter_map(number).max().unwrap_or(0) == self.values.len()
    }
}

macro_rules! built {
    ($($plain:ident, $rows:ident: $database:ident, $arguments:ident;)+) => { $(
        impl Sql {
            fn $plain(self) -> sqlx::query::Query<'static, $database, $arguments> {
                debug_assert!(self.names_what_is_bound(), "{}", self.text);
                self.values.into_iter().fold(sqlx::query(AssertSqlSafe(self.text)), sqlx::query::Query::bind)
            }

            fn $rows<T: Row>(self) -> sqlx::query::QueryAs<'static, $database, T, $arguments> {
                debug_assert!(self.names_what_is_bound(), "{}", self.text);
                self.values.into_iter().fold(sqlx::query_as(AssertSqlSafe(self.text)), sqlx::query::QueryAs::bind)
            }
        }
    )+ };
}
built! {
    postgres, postgres_rows: Postgres, PgArguments;
    sqlite, sqlite_rows: Sqlite, SqliteArguments;
}

/// So that a cohort's filter writes into it.
impl Condition for Sql {
    fn sql(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn bind_id(&mut self, id: [u8; 16]) {
        self.push_bind(Uuid::from_bytes(id));
    }

    fn bind_int(&mut self, value: i64) {
        self.push_bind(value);
    }

    fn bind_text(&mut self, text: &'static str) {
        self.push_bind(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_put_together_numbers_its_parameters() {
        let mut statement = sql("select 1 from a where b = $1 and c = $1 and d = $2").bind(1).bind("x");
        statement.push(" and e = ").push_bind(true).push(" limit ").push_bind(3);
        assert_eq!(statement.text, "select 1 from a where b = $1 and c = $1 and d = $2 and e = $3 limit $4");
        assert_eq!(
            statement.values,
            [Value::Int(Some(1)), Value::Text(Some("x".into())), Value::Bool(true), Value::Int(Some(3))]
        );
    }

    #[test]
    fn a_statement_names_the_parameters_that_are_bound() {
        assert!(sql("select 1").names_what_is_bound());
        assert!(sql("select $1, $2, $1").bind(1).bind(2).names_what_is_bound());
        assert!(!sql("select $1, $2").bind(1).names_what_is_bound());
        assert!(!sql("select $1").bind(1).bind(2).names_what_is_bound());
    }

    #[tokio::test]
    async fn a_parameter_that_stands_twice_is_bound_twice() {
        struct Plain(sqlx::SqliteConnection);
        impl Tx for Plain {
            fn conn(&mut self) -> Conn<'_> {
                Conn::Sqlite(&mut self.0)
            }
        }
        let conn = <sqlx::SqliteConnection as sqlx::Connection>::connect("sqlite::memory:").await.unwrap();
        let mut tx = Plain(conn);
        let id = Uuid::from_bytes([7; 16]);
        type Found = (i64, i64, bool, Option<String>, Vec<u8>, bool);
        let row: Option<Found> = sql("select $2, $1 + $1, $3, $4, $5, $6 is null")
            .bind(2)
            .bind(9)
            .bind(true)
            .bind(Some("text"))
            .bind(id)
            .bind(None::<i64>)
            .fetch_optional(&mut tx)
            .await
            .unwrap();
        assert_eq!(row, Some((9, 4, true, Some("text".into()), vec![7; 16], true)));
        let mut seen = Vec::new();
        let rows = "select 1 union all select 2 union all select 3";
        let taken: Result<(), QueryError> = sql(rows)
            .fetch_while(&mut tx, |(n,): (i64,)| {
                seen.push(n);
                Ok(n < 2)
            })
            .await;
        taken.unwrap();
        assert_eq!(seen, [1, 2]);
        assert!(sql(rows).finds(&mut tx).await.unwrap());
        assert!(!sql("select 1 where false").finds(&mut tx).await.unwrap());
    }
}
