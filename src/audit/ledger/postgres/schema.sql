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

-- Whose row is locked writes next.
create table {schema}.turn (one boolean primary key default true check (one));
insert into {schema}.turn default values;

create function {schema}.keep() returns trigger language plpgsql as $body$
begin
    raise exception 'the ledger is only added to' using errcode = 'insufficient_privilege';
end
$body$;

create trigger keep before update or delete or truncate on {schema}.batches
    for each statement execute function {schema}.keep();
create trigger keep before update or delete or truncate on {schema}.records
    for each statement execute function {schema}.keep();

-- The three verbs of whoever writes. They run with the owner's rights, so that these verbs are all that there is.

-- Waits for its turn, until the end of the transaction. What is read after it is what the last one committed.
create function {schema}.hold() returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
begin
    perform 1 from {schema}.turn for update;
end
$body$;

-- Adds a batch behind `known` records, the last of which has the hash `follows`. Answers how many there were; if there are
-- not so many, or the last is another one (-1), nothing is added.
create function {schema}.append(
    known bigint, follows bytea, batch uuid, by_node uuid, before bytea,
    streams text[], seqs bigint[], hashes bytea[], bodies bytea[]
) returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
declare
    size bigint;
    last bytea;
begin
    perform {schema}.hold();
    select idx + 1, hash into size, last from {schema}.records order by idx desc limit 1;
    size := coalesce(size, 0);
    if size <> known then
        return size;
    end if;
    if last is distinct from follows then
        return -1;
    end if;
    if cardinality(bodies) = 0 or cardinality(streams) <> cardinality(bodies) or cardinality(seqs) <> cardinality(bodies)
        or cardinality(hashes) <> cardinality(bodies)
        or exists (select 1 from unnest(hashes, bodies) as row (hash, body) where hash <> sha256('\x00'::bytea || body))
    then
        raise exception 'not a batch' using errcode = 'check_violation';
    end if;
    insert into {schema}.batches (first, count, root, id, node)
        values (known, cardinality(bodies), before, batch, by_node);
    insert into {schema}.records (idx, stream, seq, hash, record)
        select known + row.n - 1, row.stream, row.seq, row.hash, row.body
        from unnest(streams, seqs, hashes, bodies) with ordinality as row (stream, seq, hash, body, n);
    return known;
end
$body$;

-- Keeps a checkpoint of no more than there is, and of no less than the one before.
create function {schema}.sign(signed bigint, text text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
begin
    update {schema}.checkpoint set size = signed, note = text
        where size <= signed and signed <= (select coalesce(max(idx) + 1, 0) from {schema}.records);
end
$body$;

revoke all on schema {schema} from public;
revoke all on all tables in schema {schema} from public;
revoke all on all functions in schema {schema} from public;
grant usage on schema {schema} to {role};
grant select on {schema}.batches, {schema}.records, {schema}.checkpoint to {role};
grant execute on function {schema}.hold, {schema}.append, {schema}.sign to {role};
