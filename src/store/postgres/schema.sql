-- A store's tables. Run once by the role that is to own them, which must not be the one the servers log in as.
-- `{schema}` and `{role}` are filled in by `PostgresPlace::schema`.

create schema {schema};

create table {schema}.objects (
    -- In the order of its bytes, whatever the database's language.
    name text collate "C" primary key check (octet_length(name) <= 255),
    value bytea not null check (octet_length(value) <= 65536),
    version bigint not null unique check (version > 0),
    -- Microseconds since 1970, by the clock of the servers.
    expires bigint
);
create index on {schema}.objects (expires) where expires is not null;
-- Or `analyze` would copy names and values into the database's statistics, where they outlive their rows.
alter table {schema}.objects alter column name set statistics 0, alter column value set statistics 0;

-- Whose row is locked writes next: so versions are committed in their order, and none is given twice.
create table {schema}.versions (
    one boolean primary key default true check (one),
    last bigint not null default 0 check (last >= 0),
    format integer not null default 1
) with (fillfactor = 10);
insert into {schema}.versions default values;

-- Writes the table anew, with the owner's rights. Of live rows alone: unlike `vacuum full`, without those that an old snapshot
-- would still see.
create function {schema}.scrub() returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
begin
    alter table {schema}.objects alter column value type bytea using value || ''::bytea;
end
$body$;

revoke all on schema {schema} from public;
revoke all on all tables in schema {schema} from public;
revoke all on all functions in schema {schema} from public;
grant usage on schema {schema} to {role};
grant select, insert, update, delete on {schema}.objects to {role};
grant select, update (last) on {schema}.versions to {role};
grant execute on function {schema}.scrub to {role};
