//! Sealed fields, as an application sees them.

use tower_ward::field::{Column, Encrypted, check_columns, format::reprint};

tower_ward::classes! { pub Clinical = "clinical"; pub Payroll = "payroll"; }
tower_ward::columns! {
    /// What a doctor wrote.
    pub NoteText: String = "notes"."text" as Clinical;
    pub NiNumber: String = "employees"."ni" as Payroll, indexed;
}

#[test]
fn a_column_knows_its_place() {
    assert_eq!((NoteText::TABLE, NoteText::NAME), ("notes", "text"));
    assert!(check_columns(&[COLUMNS]).is_ok());
    assert_eq!(
        check_columns(&[COLUMNS, &COLUMNS[1..]]).map_err(|error| error.to_string()),
        Err("`employees.ni` is declared as a column twice: remove one of the two declarations".to_owned())
    );
}

#[test]
fn stored_bytes_are_kept_as_they_are_and_never_printed() {
    let stored = Encrypted::<NoteText>::from_bytes(*b"anything at all");
    assert_eq!(stored.as_bytes(), b"anything at all");
    assert_eq!(format!("{stored:?}"), r#"Encrypted { table: "notes", column: "text", len: 15 }"#);
}

#[test]
fn a_ciphertext_in_text_has_one_spelling() {
    let read = |text: &str| serde_json::from_str::<Encrypted<NoteText>>(&format!("\"{text}\""));
    assert_eq!(read("AQE_-w").unwrap().as_bytes(), [1, 1, 0x3f, 0xfb]);
    let too_long = "A".repeat(1_398_164 + 4);
    for (defect, text) in [
        ("padding", "AQE_-w=="),
        ("the other alphabet", "AQE/+w"),
        ("trailing bits", "AQE_-x"),
        ("white space", "AQE_ -w"),
        ("half a byte", "AQE_-"),
        ("longer than any sealed field", &too_long),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.starts_with("not a sealed field: expected base64url without padding"), "{defect}: {error}");
    }
}

#[test]
fn parsing_bounds_both_ends() {
    let sealed = |suite: u8, len: usize| [&[1, suite][..], &vec![0; len - 2]].concat();
    for (suite, least, most) in [(1, 34, 1_048_610), (2, 46, 1_048_622)] {
        for (len, parses) in [(least - 1, false), (least, true), (most, true), (most + 1, false)] {
            let bytes = sealed(suite, len);
            assert_eq!(reprint(&bytes), parses.then_some(bytes), "suite {suite}, {len} bytes");
        }
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use sqlx::Row;
    use tower_ward::field::BlindIndex;

    use super::*;

    async fn memory() -> sqlx::SqlitePool {
        sqlx::sqlite::SqlitePoolOptions::new()
            .max_connections(1)
            .connect("sqlite::memory:")
            .await
            .expect("a database in memory")
    }

    #[tokio::test]
    async fn sealed_fields_and_indexes_are_blobs_and_may_be_null() {
        let pool = memory().await;
        sqlx::query("create table employees (ni blob, ni_index blob, note blob) strict").execute(&pool).await.unwrap();
        let ni = Encrypted::<NiNumber>::from_bytes([1; 40]);
        let index = BlindIndex::<NiNumber>::from_bytes([7; 16]);
        sqlx::query("insert into employees values (?, ?, ?)")
            .bind(&ni)
            .bind(index)
            .bind(None::<Encrypted<NoteText>>)
            .execute(&pool)
            .await
            .unwrap();
        let found =
            sqlx::query("select * from employees where ni_index = ?").bind(index).fetch_one(&pool).await.unwrap();
        assert_eq!(found.get::<Encrypted<NiNumber>, _>("ni").as_bytes(), [1; 40]);
        assert_eq!(found.get::<BlindIndex<NiNumber>, _>("ni_index"), index);
        assert!(found.get::<Option<Encrypted<NoteText>>, _>("note").is_none());
    }

    #[tokio::test]
    async fn a_blob_that_none_can_be_and_a_text_are_refused() {
        let pool = memory().await;
        let error = |sql: &'static str| {
            let pool = pool.clone();
            async move {
                let row = sqlx::query(sql).fetch_one(&pool).await.unwrap();
                (row.try_get::<Encrypted<NoteText>, _>(0).err(), row.try_get::<BlindIndex<NiNumber>, _>(0).err())
            }
        };
        let (sealed, index) = error("select zeroblob(1048623)").await;
        assert!(sealed.unwrap().to_string().contains("`notes.text` holds a blob of a length"));
        assert!(index.unwrap().to_string().contains("`employees.ni` holds a blob of a length"));
        let (sealed, index) = error("select 'plain text, 16 b'").await;
        assert!(sealed.is_some() && index.is_some());
        let (sealed, index) = error("select zeroblob(16)").await;
        assert!(sealed.is_none() && index.is_none());
    }
}
