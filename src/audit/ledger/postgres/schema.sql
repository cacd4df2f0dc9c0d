-- The ledger's tables. Run once by the role that is to own them, which must not be the one the servers log in as.
-- `{schema}` and `{role}` are filled in by `PostgresLedger::schema`.

create schema {schema};

create table {schema}.batches (
    first bigint primary key check (first >= 0),
    count integer not null check (count > 0),
    root bytea not null check (octet_length(root) = 32),
    id uuid not null unique,
    node uuid not null,
    at timestamptz not null default clock_timestamp()
);
create index on {schema}.batches (at);

-- Whether a body is one by which others are looked for: a prune record, a hold or its end.
create function {schema}.marks(body bytea) returns boolean language sql immutable as $body$
    select position('"kind":"pruned"'::bytea in body) > 0 or position('"kind":"held"'::bytea in body) > 0
        or position('"kind":"released"'::bytea in body) > 0
$body$;

create table {schema}.records (
    idx bigint primary key check (idx >= 0),
    stream text not null,
    seq bigint not null check (seq >= 0),
    hash bytea not null check (octet_length(hash) = 32),
    -- Null once retention has dropped it: what is left are the columns beside it.
    record bytea check (octet_length(record) between 1 and 49152),
    unique (stream, seq)
);
create index on {schema}.records (stream, seq) where {schema}.marks(record);

-- The newest signed checkpoint. It may be replaced: what it proves, it proves elsewhere.
create table {schema}.checkpoint (
    one boolean primary key default true check (one),
    size bigint not null,
    note text not null check (octet_length(note) <= 65536)
);
insert into {schema}.checkpoint (size, note) values (0, '');

-- How long a body stays at least, by this server's clock, whatever whoever writes says. The owner's to change.
create table {schema}.retention (
    one boolean primary key default true check (one),
    keep interval not null default '7 years' check (keep >= '0 seconds')
);
insert into {schema}.retention default values;

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
create trigger keep before delete or truncate on {schema}.records
    for each statement execute function {schema}.keep();

-- The one change that there is: a body goes, and all beside it stays.
create function {schema}.keep_row() returns trigger language plpgsql as $body$
begin
    if new.record is not null or (old.idx, old.stream, old.seq, old.hash) is distinct from (new.idx, new.stream, new.seq, new.hash) then
        raise exception 'the ledger is only added to' using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$body$;

create trigger keep_row before update on {schema}.records
    for each row execute function {schema}.keep_row();

-- The four verbs of whoever writes. They run with the owner's rights, so that these verbs are all that there is.

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
        or exists (select 1 from unnest(hashes, bodies) as row (hash, body) where body is not null and hash <> sha256('\x00'::bytea || body))
    then
        raise exception 'not a batch' using errcode = 'check_violation';
    end if;
    -- Their times rise with their numbers, even if this server's clock is set back.
    insert into {schema}.batches (first, count, root, id, node, at)
        values (known, cardinality(bodies), before, batch, by_node,
            greatest(clock_timestamp(), (select at from {schema}.batches order by first desc limit 1)));
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

-- Drops bodies that the prune record with this number of this chain covers: of those with numbers from `from_seq` on and before
-- `below_seq`, which are old enough for this database. Answers how many; -1, and drops nothing, if another prune record has
-- taken its place, or a hold that has not ended came after it.
create function {schema}.prune(chain text, by_seq bigint, from_seq bigint, below_seq bigint) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
declare
    said jsonb;
    kept int8multirange;
    young bigint;
    gone bigint;
begin
    perform {schema}.hold();
    select convert_from(record, 'UTF8')::jsonb into said from {schema}.records where stream = chain and seq = by_seq;
    if said ->> 'kind' is distinct from 'pruned' then
        raise exception 'not a prune record' using errcode = 'check_violation';
    end if;
    if exists (
        with later as (
            select seq, convert_from(record, 'UTF8')::jsonb as body from {schema}.records
                where stream = chain and seq > by_seq and {schema}.marks(record)
        )
        select 1 from later where body ->> 'kind' = 'pruned'
            and body -> 'prune' -> 'from' = said -> 'prune' -> 'from' and body -> 'prune' -> 'below' = said -> 'prune' -> 'below'
        union all
        select 1 from later held where body ->> 'kind' = 'held' and not exists (
            select 1 from later ended where ended.body ->> 'kind' = 'released' and ended.seq > held.seq
                and ended.body -> 'subjects' is not distinct from held.body -> 'subjects'
                and ended.body -> 'reason' is not distinct from held.body -> 'reason'
                and (ended.body ? 'permission') = (held.body ? 'permission'))
    ) then
        return -1;
    end if;
    select coalesce(range_agg(int8range(split_part(one, '-', 1)::bigint, split_part(one, '-', -1)::bigint, '[]')), '{}')
        into kept from unnest(string_to_array(said -> 'prune' ->> 'kept', ',')) as one;
    select first into young from {schema}.batches
        where at > clock_timestamp() - (select keep from {schema}.retention) order by at, first limit 1;
    update {schema}.records set record = null
        where stream = chain and seq >= from_seq and seq < least(below_seq, by_seq) and (young is null or idx < young)
          and seq >= (said -> 'prune' ->> 'from')::bigint and seq < (said -> 'prune' ->> 'below')::bigint
          and record is not null and not (seq <@ kept);
    get diagnostics gone = row_count;
    return gone;
end
$body$;

revoke all on schema {schema} from public;
revoke all on all tables in schema {schema} from public;
revoke all on all functions in schema {schema} from public;
grant usage on schema {schema} to {role};
grant select on {schema}.batches, {schema}.records, {schema}.checkpoint, {schema}.retention to {role};
grant execute on function {schema}.hold, {schema}.append, {schema}.sign, {schema}.prune to {role};
