-- The ledger's tables. Run once by the role that is to own them, which must not be the one the servers log in as.
-- `{schema}` and `{role}` are filled in by `PostgresLedger::schema`.

create schema {schema};

create table {schema}.batches (
    first bigint primary key check (first >= 0),
    count integer not null check (count > 0),
    root bytea not null check (octet_length(root) = 32),
    id uuid not null unique,
    node uuid not null
);

create table {schema}.records (
    idx bigint primary key check (idx >= 0),
    stream text not null,
    seq bigint not null check (seq >= 0),
    hash bytea not null check (octet_length(hash) = 32),
    record bytea not null check (octet_length(record) between 1 and 49152),
    unique (stream, seq)
);

-- The newest signed checkpoint. It may be replaced: what it proves, it proves elsewhere.
create table {schema}.checkpoint (
    one boolean primary key default true check (one),
    size bigint not null,
    note text not null check (octet_length(note) <= 65536)
);
insert into {schema}.checkpoint (size, note) values (0, '');

create function {schema}.keep() returns trigger language plpgsql as $body$
begin
    raise exception 'the ledger is only added to' using errcode = 'insufficient_privilege';
end
$body$;

create trigger keep before update or delete or truncate on {schema}.batches
    for each statement execute function {schema}.keep();
create trigger keep before update or delete or truncate on {schema}.records
    for each statement execute function {schema}.keep();

-- Adds a batch behind `known` records, if there are so many and no more. Answers how many there were.
create function {schema}.append(
    known bigint, batch uuid, by_node uuid, before bytea,
    streams text[], seqs bigint[], hashes bytea[], bodies bytea[]
) returns bigint language plpgsql set search_path = pg_catalog as $body$
declare
    size bigint;
begin
    -- One writer at a time; the lock goes with the transaction. What is read after it is what the last one committed.
    perform pg_advisory_xact_lock('{schema}.records'::regclass::oid::bigint);
    select idx + 1 into size from {schema}.records order by idx desc limit 1;
    size := coalesce(size, 0);
    if size <> known then
        return size;
    end if;
    insert into {schema}.batches (first, count, root, id, node)
        values (known, cardinality(bodies), before, batch, by_node);
    insert into {schema}.records (idx, stream, seq, hash, record)
        select known + row.n - 1, row.stream, row.seq, row.hash, row.body
        from unnest(streams, seqs, hashes, bodies) with ordinality as row (stream, seq, hash, body, n);
    return known;
end
$body$;

revoke all on schema {schema} from public;
revoke all on all tables in schema {schema} from public;
revoke all on all functions in schema {schema} from public;
grant usage on schema {schema} to {role};
grant select, insert on {schema}.batches, {schema}.records to {role};
grant select, update (size, note) on {schema}.checkpoint to {role};
grant execute on function {schema}.append to {role};
