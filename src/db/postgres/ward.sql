-- What the library keeps in the database, and the functions by which a transaction enters one clinic. Run by the role that is
-- to own the tables, which must not be the one that the servers log in as; it may be run again. `{role}` is that other one.

-- Whoever waits for a lock on a table makes everybody wait who comes after.
set local lock_timeout = '10s';
set local statement_timeout = '10min';

create schema if not exists ward;

-- A key stands in no query of the functions below, only in expressions by themselves: what a query is given may be a constant of
-- its plan, and `debug_print_plan` writes plans into the log.

-- The keys of the setting that row-level security reads, each as the two blocks of HMAC-SHA256 (RFC 2104): `enter` is the
-- servers' and comes from their keyring, `proof` is known to this table alone.
create table if not exists ward.keys (
    one boolean primary key default true check (one),
    enter_inner bytea not null check (octet_length(enter_inner) = 64),
    enter_outer bytea not null check (octet_length(enter_outer) = 64),
    proof_inner bytea not null check (octet_length(proof_inner) = 64),
    proof_outer bytea not null check (octet_length(proof_outer) = 64)
);

create table if not exists ward.tenants (id text primary key check (id ~ '^[a-z0-9-]{1,63}$'));

-- What the transactions that are under way have changed so far: a row is gone before its transaction ends.
create unlogged table if not exists ward.touched (
    xid xid8 not null,
    place text not null,
    key uuid not null,
    made boolean not null,
    was bytea[],
    primary key (xid, place, key)
);

-- Which changes were made. A void one was settled as never made, and cannot be any more.
create table if not exists public.ward_attempts (
    tenant text not null references ward.tenants (id),
    id uuid primary key,
    void boolean not null default false
);
create index if not exists ward_attempts_by_tenant on public.ward_attempts (tenant);

create table if not exists public.ward_relations (
    tenant text not null references ward.tenants (id),
    "user" uuid not null,
    subject uuid not null,
    kind text not null check (kind in ('assigned', 'circle')),
    until bigint,
    mac bytea not null check (octet_length(mac) = 16),
    primary key (tenant, "user", subject, kind)
);
create index if not exists ward_relations_by_subject on public.ward_relations (tenant, subject);

create table if not exists public.ward_erased (
    tenant text not null references ward.tenants (id),
    subject uuid not null,
    primary key (tenant, subject)
);

-- Two clinics that are none: whoever enters one must not see the other.
create table if not exists public.ward_canary (tenant text primary key);
alter table public.ward_canary no force row level security;
insert into public.ward_canary (tenant) values ('ward-canary-a'), ('ward-canary-b') on conflict do nothing;
insert into ward.tenants (id) values ('ward-canary-a'), ('ward-canary-b') on conflict do nothing;

--- hmac
-- HMAC-SHA256. This function and those down to `changing` are asked for each statement, so none has a search path of its own,
-- which costs as much as a hash: every name in them, and every operator, says where it is.
create or replace function ward.hmac(k_inner bytea, k_outer bytea, message bytea) returns bytea
language sql immutable parallel safe
as $body$ select pg_catalog.sha256(k_outer operator(pg_catalog.||) pg_catalog.sha256(k_inner operator(pg_catalog.||) message)) $body$;

--- transaction
-- What tells this transaction from every other: the server process, and the moment it began.
create or replace function ward.transaction() returns text
language sql stable parallel restricted
as $body$ select pg_catalog.concat_ws(' ', pg_catalog.pg_backend_pid(), extract(epoch from pg_catalog.transaction_timestamp())) $body$;

--- proof
-- That a transaction entered a clinic, as a number that nobody else can make: of the server process, the moment the transaction
-- began, its number if it changes something, and what it entered. The first byte tells it from what lets a transaction commit.
create or replace function ward.proof(k_inner bytea, k_outer bytea, xid xid8, scope text) returns text
language sql stable parallel restricted
as $body$ select pg_catalog.encode(ward.hmac(k_inner, k_outer, '\x01'::pg_catalog.bytea
    operator(pg_catalog.||) pg_catalog.int4send(pg_catalog.pg_backend_pid())
    operator(pg_catalog.||) pg_catalog.timestamptz_send(pg_catalog.transaction_timestamp())
    operator(pg_catalog.||) coalesce(pg_catalog.xid8send(xid), ''::pg_catalog.bytea)
    operator(pg_catalog.||) pg_catalog.textsend(scope)), 'hex') $body$;

--- tenant
-- The clinic that this transaction entered; null if it entered none. A setting that was made by anything but `enter`, or in
-- another transaction, is an error. The key is read each time: a constant that a plan keeps would be in what `debug_print_plan`
-- tells whoever asks.
create or replace function ward.tenant() returns text
language plpgsql stable parallel restricted security definer
as $body$
declare
    scope pg_catalog.text := pg_catalog.current_setting('ward.scope', true);
    k_inner pg_catalog.bytea;
    k_outer pg_catalog.bytea;
    proof pg_catalog.text;
begin
    if scope is null or scope operator(pg_catalog.=) '' then
        return null;
    end if;
    select k.proof_inner, k.proof_outer into k_inner, k_outer from ward.keys k;
    proof := ward.proof(k_inner, k_outer, case when pg_catalog.split_part(scope, '|', 2) operator(pg_catalog.<>) 'read'
        then pg_catalog.pg_current_xact_id_if_assigned() end, scope);
    -- The time that the second comparison takes would tell how much of a guess is right; it is made of what passes the first,
    -- which is one guess in 2^64.
    if (pg_catalog.hashtextextended(proof, 0) operator(pg_catalog.=)
            pg_catalog.hashtextextended(pg_catalog.current_setting('ward.proof', true), 0)
        and proof operator(pg_catalog.=) pg_catalog.current_setting('ward.proof', true)) is not true
    then
        raise exception 'the clinic of this transaction was set by something else than `ward.enter`' using errcode = 'WD001';
    end if;
    return pg_catalog.split_part(scope, '|', 1);
end
$body$;

--- verified
-- The clinic that this transaction entered, how, and whose rows it may change; null if it entered none.
create or replace function ward.verified() returns text[]
language plpgsql stable parallel restricted
as $body$
begin
    return case when ward.tenant() is not null
        then pg_catalog.string_to_array(pg_catalog.current_setting('ward.scope', true), '|') end;
end
$body$;

--- person
-- Whose rows this transaction may change.
create or replace function ward.person() returns uuid
language plpgsql stable parallel restricted as $body$
declare
    said pg_catalog.text[] := ward.verified();
begin
    return case when said[2] operator(pg_catalog.<>) 'read' and said[3] operator(pg_catalog.<>) '-'
        then said[3]::pg_catalog.uuid end;
end
$body$;

--- clinic
-- The clinic, if this transaction may change rows of no person.
create or replace function ward.clinic() returns text
language plpgsql stable parallel restricted as $body$
declare
    said pg_catalog.text[] := ward.verified();
begin
    return case when said[2] operator(pg_catalog.=) any (array['change', 'import']) and said[3] operator(pg_catalog.=) '-'
        then said[1] end;
end
$body$;

--- changing
-- The clinic, if this transaction may change anything.
create or replace function ward.changing() returns text
language plpgsql stable parallel restricted as $body$
declare
    said pg_catalog.text[] := ward.verified();
begin
    return case when said[2] operator(pg_catalog.=) any (array['change', 'import', 'reseal', 'erase', 'assign', 'unassign']) then said[1] end;
end
$body$;

--- enter
-- Enters a clinic until the end of the transaction. A request has these parts: clinic, verb, person, attempt, user, relation,
-- and the transaction that it is for, so that nobody else has a use for one; a dash is none. What `read` enters changes nothing.
create or replace function ward.enter(request text, signature bytea) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $body$
declare
    said text[] := string_to_array(request, '|');
    k ward.keys;
    dummy text;
begin
    select * into k from ward.keys;
    -- Of the hashes, so that the time which the comparison takes says nothing of the signature.
    if k is null or sha256(signature) is distinct from sha256(ward.hmac(k.enter_inner, k.enter_outer, convert_to(request, 'UTF8'))) then
        raise exception 'the request was not signed with the key of this database' using errcode = 'WD002';
    end if;
    if said[7] is distinct from ward.transaction() then
        raise exception 'the request is for another transaction' using errcode = 'WD003';
    end if;
    if said[2] <> 'found' and not exists (select 1 from ward.tenants where id = said[1]) then
        raise exception 'there is no such clinic' using errcode = 'WD004';
    end if;
    if current_setting('ward.scope', true) <> '' then
        raise exception 'this transaction is in a clinic already' using errcode = 'WD005';
    end if;
    -- What an injected statement may have left in a session that is shared: it would run in the place of what is meant.
    if exists (select 1 from pg_prepared_statements where from_sql) then
        raise exception 'a statement was prepared in this session' using errcode = 'WD006';
    end if;
    if pg_my_temp_schema() <> 0 then
        if exists (select 1 from pg_class where relnamespace = pg_my_temp_schema()) then
            raise exception 'a temporary table was made in this session' using errcode = 'WD006';
        end if;
    end if;
    -- One by one, which is faster than as one query.
    dummy := set_config('statement_timeout', '30s', true);
    dummy := set_config('lock_timeout', '10s', true);
    dummy := set_config('idle_in_transaction_session_timeout', '60s', true);
    if said[2] = 'found' then
        insert into ward.tenants (id) values (said[1]) on conflict do nothing;
    elsif said[2] in ('change', 'import', 'reseal', 'erase', 'assign', 'unassign') then
        if said[3] <> '-' then
            -- Nobody is erased while something of theirs is changed, and the other way round.
            if said[2] = 'erase' then
                perform pg_advisory_xact_lock(hashtextextended(said[1] || '|' || said[3], 0));
            else
                perform pg_advisory_xact_lock_shared(hashtextextended(said[1] || '|' || said[3], 0));
                if exists (select 1 from public.ward_erased where tenant = said[1] and subject = said[3]::uuid) then
                    raise exception 'the person was erased' using errcode = 'WD007';
                end if;
            end if;
        end if;
        insert into public.ward_attempts (tenant, id) values (said[1], said[4]::uuid);
    elsif said[2] not in ('read', 'settle') then
        raise exception 'there is no such verb' using errcode = 'WD002';
    end if;
    request := array_to_string(said[1:6], '|');
    dummy := set_config('ward.scope', request, true);
    dummy := set_config('ward.proof', ward.proof(k.proof_inner, k.proof_outer,
        case when said[2] <> 'read' then pg_current_xact_id() end, request), true);
end
$body$;

--- leaving
-- That the library lets this transaction commit. The first letter tells it from what proves that a clinic was entered.
create or replace function ward.leaving(k_inner bytea, k_outer bytea, attempt text) returns text
language sql volatile
as $body$ select encode(ward.hmac(k_inner, k_outer, convert_to(concat_ws('|', 'leave', pg_current_xact_id(), attempt), 'UTF8')), 'hex') $body$;

--- leave
-- Lets the transaction commit, and answers what it changed: the place and key of each row with sealed columns, whether it made
-- it, and what the columns held before. The library's last statement but one.
create or replace function ward.leave(signature bytea)
returns table (place text, key uuid, made boolean, was bytea[])
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $body$
declare
    said text[] := ward.verified();
    k ward.keys;
    dummy text;
begin
    select * into strict k from ward.keys;
    if said is null or sha256(signature) is distinct from sha256(ward.hmac(k.enter_inner, k.enter_outer, convert_to('leave|' || said[4], 'UTF8'))) then
        raise exception 'the request was not signed with the key of this database' using errcode = 'WD002';
    end if;
    if not exists (select 1 from public.ward_attempts a where a.id = said[4]::uuid and a.tenant = said[1] and not a.void) then
        raise exception 'the change of this transaction is not on record' using errcode = 'WD008';
    end if;
    dummy := set_config('synchronous_commit', 'on', true);
    dummy := set_config('ward.leave', ward.leaving(k.proof_inner, k.proof_outer, said[4]), true);
    return query delete from ward.touched t where t.xid = pg_current_xact_id()
        returning t.place, t.key, t.made, t.was;
end
$body$;

--- left
-- No transaction that changes something commits before it left, nor with a row of sealed columns that it changed after.
create or replace function ward.left() returns trigger
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $body$
declare
    k ward.keys;
    may boolean;
begin
    select * into strict k from ward.keys;
    may := coalesce(current_setting('ward.leave', true) = ward.leaving(k.proof_inner, k.proof_outer, new.id::text), false);
    if not may or exists (select 1 from ward.touched where xid = pg_current_xact_id()) then
        raise exception 'a transaction that changes something is committed by the library alone' using errcode = 'WD008';
    end if;
    return null;
end
$body$;

drop trigger if exists ward_left on public.ward_attempts;
create constraint trigger ward_left after insert on public.ward_attempts
    deferrable initially deferred for each row when (not new.void) execute function ward.left();
alter table public.ward_attempts enable always trigger ward_left;

--- settle
-- Whether the change was made. Waits for a transaction that is about to make it; if there is none, none ever will.
create or replace function ward.settle() returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $body$
declare
    said text[] := ward.verified();
    made boolean;
begin
    if said[2] is distinct from 'settle' then
        raise exception 'this transaction was not begun to settle a change' using errcode = 'WD005';
    end if;
    insert into public.ward_attempts (tenant, id, void) values (said[1], said[4]::uuid, true) on conflict do nothing;
    select not void into made from public.ward_attempts where id = said[4]::uuid and tenant = said[1];
    return coalesce(made, false);
end
$body$;

--- relate
-- Makes the relation hold that the transaction was begun for. Signed, with all that is written: the role that the servers log
-- in as makes none by itself, nor keeps one beyond its end.
create or replace function ward.relate(ends bigint, proof bytea, signature bytea) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $body$
declare
    said text[] := ward.verified();
    k ward.keys;
begin
    select * into strict k from ward.keys;
    if said[2] is distinct from 'assign' or sha256(signature) is distinct from sha256(ward.hmac(k.enter_inner, k.enter_outer,
        convert_to(concat_ws('|', 'relate', said[4], coalesce(ends::text, '-'), encode(proof, 'hex')), 'UTF8')))
    then
        raise exception 'this transaction was not begun to make this relation' using errcode = 'WD005';
    end if;
    insert into public.ward_relations (tenant, "user", subject, kind, until, mac)
        values (said[1], said[5]::uuid, said[3]::uuid, said[6], ends, proof)
        on conflict (tenant, "user", subject, kind) do update set until = excluded.until, mac = excluded.mac;
end
$body$;

--- unrelate
create or replace function ward.unrelate() returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $body$
declare
    said text[] := ward.verified();
begin
    if said[2] is distinct from 'unassign' then
        raise exception 'this transaction was not begun to end a relation' using errcode = 'WD005';
    end if;
    delete from public.ward_relations
        where tenant = said[1] and "user" = said[5]::uuid and subject = said[3]::uuid and kind = said[6];
    return found;
end
$body$;

--- erase
-- Ends what the library keeps of the person.
create or replace function ward.erase() returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $body$
declare
    said text[] := ward.verified();
begin
    if said[2] is distinct from 'erase' then
        raise exception 'this transaction was not begun to erase a person' using errcode = 'WD005';
    end if;
    delete from public.ward_relations where tenant = said[1] and subject = said[3]::uuid;
    insert into public.ward_erased (tenant, subject) values (said[1], said[3]::uuid) on conflict do nothing;
end
$body$;

--- related
-- The relations of a user to some people, in the clinic of this transaction, with what proves them: for the library, which signs.
create or replace function ward.related(signature bytea, by uuid, people uuid[], kinds text[], now bigint)
returns table (subject uuid, kind text, until bigint, mac bytea)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $body$
declare
    said text[] := ward.verified();
    k ward.keys;
begin
    select * into strict k from ward.keys;
    if said is null or sha256(signature) is distinct from sha256(ward.hmac(k.enter_inner, k.enter_outer,
        convert_to('related|' || ward.transaction(), 'UTF8')))
    then
        raise exception 'the request was not signed with the key of this database' using errcode = 'WD002';
    end if;
    return query select r.subject, r.kind, r.until, r.mac from public.ward_relations r
        where r.tenant = said[1] and r."user" = by and r.subject = any (people) and r.kind = any (kinds)
          and (r.until is null or r.until > now);
end
$body$;

--- end
revoke all on schema ward from public;
revoke all on all tables in schema ward from public, {role};
revoke all on all functions in schema ward from public;
revoke all on public.ward_attempts, public.ward_relations, public.ward_erased, public.ward_canary from public, {role};
grant usage on schema ward to {role};
grant execute on function ward.verified, ward.tenant, ward.person, ward.clinic, ward.changing, ward.enter, ward.leave, ward.settle,
    ward.relate, ward.unrelate, ward.erase, ward.related to {role};
grant select on public.ward_attempts, public.ward_erased, public.ward_canary to {role};
-- What proves a relation is not to be read, or it could be put back.
grant select (tenant, "user", subject, kind, until) on public.ward_relations to {role};
