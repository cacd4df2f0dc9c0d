-- Whoever waits for a lock on a table makes everybody wait who comes after.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- What a patient and the clinic write to each other.
create table messages (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    author uuid not null, at bigint not null,
    sender text not null check (sender in ('patient', 'clinic')),
    text bytea not null,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index messages_by_patient on messages (tenant, patient, at, id);

-- What a patient is offered and billed. An invoice may come from a quote of the same patient, and from no other's.
create table quotes (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    author uuid not null, at bigint not null,
    lines bytea not null, total bytea not null,
    status text not null check (status in ('open', 'accepted', 'declined', 'expired')),
    version bigint not null default 1,
    test boolean not null default false,
    primary key (tenant, id),
    unique (tenant, id, patient),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index quotes_by_patient on quotes (tenant, patient, at, id);

create table invoices (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    author uuid not null, at bigint not null, quote uuid,
    lines bytea not null, total bytea not null,
    status text not null check (status in ('open', 'paid', 'cancelled')),
    version bigint not null default 1,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade,
    foreign key (tenant, quote, patient) references quotes (tenant, id, patient)
);
create index invoices_by_patient on invoices (tenant, patient, at, id);
create index invoices_by_quote on invoices (tenant, quote, patient);
