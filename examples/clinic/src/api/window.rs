//! Pages of a chart's entries, newest first.
//!
//! A page ends
//!
//! 1. with the entry that makes it as long as was asked for;
//! 2. before the entry whose texts would make it larger than [`MAX_TEXTS`], unless that is its first;
//! 3. with the last entry there is.
//!
//! In the first two cases it says where the next one begins. No entry beyond the page is kept in memory or opened.

use serde::Deserialize;
use tower_ward::{axum::Json, id::RowId, problem::Problem};

use super::Page;
use crate::data::{Row, Sql, Tx};

/// The most that the texts of a page are together, in bytes.
pub(super) const MAX_TEXTS: usize = 256 << 10;

/// Which entries: newest first, from where the last page ended.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Older {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A row of a chart.
pub(super) trait Entry {
    /// Its time and its name.
    fn place(&self) -> (i64, RowId);

    /// How much text it holds, in bytes.
    fn size(&self) -> usize;
}

/// Where a page of entries begins and ends.
pub(super) struct Window {
    limit: usize,
    /// Entries before this time, and of the same time before this row.
    before: (i64, RowId),
}

impl Window {
    pub(super) fn of(older: &Older) -> Result<Self, Problem> {
        let limit = super::limit(older.limit)?;
        let Some(cursor) = &older.cursor else {
            return Ok(Self { limit, before: (i64::MAX, RowId::from_bytes([0xff; 16])) });
        };
        let parse = |cursor: &str| {
            let (at, id) = cursor.split_once('.')?;
            let place = (at.parse().ok()?, id.parse().ok()?);
            (Self::cursor(place) == cursor).then_some(place)
        };
        Ok(Self { limit, before: parse(cursor).ok_or_else(|| Problem::bad_request("cursor"))? })
    }

    fn cursor((at, id): (i64, RowId)) -> String {
        format!("{at}.{id}")
    }

    /// The page of a query that ends in its `where`, over a table with `at` and `id`.
    pub(super) async fn page<R: Entry + Row, V>(
        &self,
        mut query: Sql,
        tx: &mut impl Tx,
        view: impl Fn(R) -> Result<V, Problem>,
    ) -> Result<Json<Page<V>>, Problem> {
        // One more than fits, which says whether there is another page.
        let most = i64::try_from(self.limit + 1).unwrap_or(i64::MAX);
        query.push(" and (at, id) < (").push_bind(self.before.0).push(", ").push_bind(self.before.1);
        query.push(") order by at desc, id desc limit ").push_bind(most);
        let (mut items, mut texts, mut last, mut next) = (Vec::new(), 0, None, None);
        let take = |row: R| {
            texts += row.size();
            if let Some(last) = last.filter(|_| items.len() == self.limit || texts > MAX_TEXTS) {
                next = Some(Self::cursor(last));
                return Ok(false);
            }
            last = Some(row.place());
            items.push(view(row)?);
            Ok::<bool, Problem>(true)
        };
        query.fetch_while(tx, take).await?;
        Ok(Json(Page { items, next }))
    }
}
