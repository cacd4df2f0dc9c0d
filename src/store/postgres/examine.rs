//! Whether a place is fit to hold a store.

use sqlx::{Connection as _, PgConnection, Row as _};

use super::{super::StoreError, conn::failed, place::PostgresPlace};

const FORMAT: i32 = 1;

/// In the order of [`SERVER_SAYS`].
const SERVER: &str = "
    with me as (select unnest(array[session_user, current_user]) as who)
    select current_setting('fsync') = 'on',
        (select reset_val <> 'off' from pg_settings where name = 'synchronous_commit'),
        not pg_is_in_recovery(),
        not exists (select from me, pg_roles
            where (rolsuper or rolbypassrls or rolreplication or rolcreaterole or rolname in (
                'pg_write_all_data', 'pg_read_all_data', 'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program'))
              and pg_has_role(who, oid, 'member')),
        current_setting('log_parameter_max_length') = '0' or not (
            current_setting('log_statement') in ('mod', 'all')
            or current_setting('log_min_duration_statement') <> '-1' or current_setting('log_min_duration_sample') <> '-1'
            or current_setting('log_transaction_sample_rate') <> '0'),
        3 = (select count(*) from pg_namespace n, lateral (
                select relname from pg_class where relnamespace = n.oid and relname in ('objects', 'versions') and relkind = 'r'
                union all
                select proname from pg_proc where pronamespace = n.oid and proname = 'scrub' and pronargs = 0 and prosecdef) as part
            where nspname = '{schema}')";

const SERVER_SAYS: [&str; 6] = [
    "`fsync` is off: turn it on, or an answer means nothing",
    "`synchronous_commit` is off for the role: turn it on, or reset what was set for the role or the database",
    "the server is a standby, which answers late and takes nothing: name the primary",
    "the role is a superuser, bypasses row security, replicates, makes roles, or is a member of a role that does or that reads \
     or writes everything: log in as one that may use the store's tables and nothing else",
    "the server writes what is bound to statements to its log: have a superuser set `log_parameter_max_length` to 0 for the role",
    "the tables are not there: run the schema's script as the role that is to own them",
];

/// In the order of [`TABLES_SAY`].
const TABLES: &str = "
    with me as (select unnest(array[session_user, current_user]) as who),
        home as (select oid, nspowner, nspacl from pg_namespace where nspname = '{schema}'),
        part as (select * from pg_class where relnamespace = (select oid from home) and relname in ('objects', 'versions')),
        object as (select oid from part where relname = 'objects'),
        version as (select oid from part where relname = 'versions'),
        scrub as (select oid, proowner from pg_proc where pronamespace = (select oid from home) and proname = 'scrub' and pronargs = 0)
    select
        not exists (select from me, (select relowner from part union select nspowner from home union select proowner from scrub) as o (owner)
            where pg_has_role(who, owner, 'member')),
        not exists (select from me where has_schema_privilege(who, (select oid from home), 'create')
            or has_database_privilege(who, current_database(), 'create')),
        not exists (select from me, part where has_table_privilege(who, part.oid, 'truncate, trigger, references'))
            and not exists (select from me, version where has_table_privilege(who, version.oid, 'insert, delete')),
        not exists (select from home, aclexplode(nspacl) as a where a.grantee = 0)
            and not exists (select from part, aclexplode(relacl) as a where a.grantee = 0)
            and not exists (select from part join pg_attribute on attrelid = part.oid, aclexplode(attacl) as a where a.grantee = 0),
        not exists (select from part where relpersistence <> 'p' or relrowsecurity)
            and not exists (select from part join pg_trigger on tgrelid = part.oid)
            and not exists (select from part join pg_rewrite on ev_class = part.oid)
            and not exists (select from part join pg_inherits on part.oid in (inhrelid, inhparent)),
        not exists (select from part join pg_attribute on attrelid = part.oid
            where relname = 'objects' and attname in ('name', 'value') and attstattarget is distinct from 0),
        has_schema_privilege((select oid from home), 'usage')
            and (select bool_and(has_table_privilege(oid, verb)) from object, unnest(array['select', 'insert', 'update', 'delete']) as verb)
            and (select has_table_privilege(oid, 'select') and has_column_privilege(oid, 'last', 'update') from version)
            and (select has_function_privilege(oid, 'execute') from scrub)";

const TABLES_SAY: [&str; 7] = [
    "the role owns the tables, or may become who does: log in as another one",
    "the role may make tables or schemas here: revoke create on the schema and on the database",
    "the role may do more with the tables than look, add, change and remove: revoke truncate, trigger and references, and \
     insert and delete on `versions`",
    "everybody has rights on the tables: revoke them from `public`",
    "the tables have triggers, rules, row security or heirs, or are not logged: what was written could be lost, hidden or another",
    "the server keeps samples of names and values: set the statistics of both columns to 0",
    "the role may not use the tables: grant what the schema's script grants",
];

/// Refuses a place where what is acknowledged could be lost, or reached by another way than the four verbs.
pub(super) async fn examine(place: &PostgresPlace) -> Result<(), StoreError> {
    let mut conn = PgConnection::connect_with(place.options()).await.map_err(failed)?;
    let mut tx = conn.begin().await.map_err(failed)?;
    check(place, &mut tx, SERVER, &SERVER_SAYS).await?;
    check(place, &mut tx, TABLES, &TABLES_SAY).await?;
    if !place.archived {
        check_archive(place, &mut tx).await?;
    }
    let format = place.query("select format from {schema}.versions").fetch_all(&mut *tx).await.map_err(failed)?;
    let [format] = &format[..] else { return Err(StoreError::Corrupt) };
    match format.try_get(0).map_err(|_| StoreError::Corrupt)? {
        FORMAT => {}
        newer if newer > FORMAT => return Err(StoreError::Newer),
        _ => return Err(StoreError::Corrupt),
    }
    tx.rollback().await.map_err(failed)?;
    // All that was to be known is known.
    let _ = conn.close().await;
    Ok(())
}

/// Refuses a server whose log is kept elsewhere, and what was removed with it.
pub(super) async fn check_archive(place: &PostgresPlace, conn: &mut PgConnection) -> Result<(), StoreError> {
    let what = "the server archives its log, in which everything that was removed can be read: keep keys in a server with \
                `archive_mode = off`, or say `danger_archived` for what need not be erased";
    check(place, conn, "select current_setting('archive_mode') = 'off'", &[what]).await
}

/// Each column of the one row must be true.
async fn check(
    place: &PostgresPlace,
    conn: &mut PgConnection,
    statement: &str,
    says: &[&'static str],
) -> Result<(), StoreError> {
    let row = place.query(statement).fetch_one(conn).await.map_err(failed)?;
    for (column, what) in says.iter().enumerate() {
        // What is not known is not good.
        if !row.try_get::<Option<bool>, _>(column).ok().flatten().unwrap_or(false) {
            return Err(StoreError::Unguarded { what });
        }
    }
    Ok(())
}
