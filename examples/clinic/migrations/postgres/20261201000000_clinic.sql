-- All clinics in one database. Columns of `bytea` that are named in src/model.rs are sealed; `test` marks demo data. Every table
-- begins with the clinic, which is the one that the transaction entered; a reference to a row is a reference within it.

-- Whoever waits for a lock on a table makes everybody wait who comes after.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

create table patients (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    given bytea not null, family bytea not null,
    birth_date bytea not null, sex bytea not null, phone bytea, email bytea, address bytea, nhs_number bytea,
    version bigint not null default 1,
    created_at bigint not null,
    test boolean not null default false,
    primary key (tenant, id)
);

-- A search asks for words of a name: one row for each, found by its blind index.
create table patient_names (
    tenant text not null default ward.tenant() references ward.tenants (id),
    patient uuid not null,
    word bytea not null,
    primary key (tenant, patient, word),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index patient_names_by_word on patient_names (tenant, word);

-- Clinical master data stands apart: the front desk's query for a patient has no clinical column to forget.
create table patient_clinical (
    tenant text not null default ward.tenant() references ward.tenants (id),
    patient uuid not null,
    conditions bytea not null, allergies bytea not null,
    version bigint not null default 1,
    primary key (tenant, patient),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);

create table encounters (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    clinician uuid not null, at bigint not null, kind text not null, reason bytea not null,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index encounters_by_patient on encounters (tenant, patient, at, id);

create table notes (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    author uuid not null, at bigint not null, text bytea not null,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index notes_by_patient on notes (tenant, patient, at, id);

create table prescriptions (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    prescriber uuid not null, at bigint not null,
    drug bytea not null, dose bytea not null, instructions bytea not null,
    status text not null check (status in ('active', 'stopped', 'completed')),
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index prescriptions_by_patient on prescriptions (tenant, patient, at, id);

create table results (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    at bigint not null, body bytea not null,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index results_by_patient on results (tenant, patient, at, id);

create table appointments (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    clinician uuid not null, starts_at bigint not null, minutes bigint not null,
    reason bytea not null,
    status text not null check (status in ('booked', 'cancelled', 'attended', 'did_not_attend')),
    version bigint not null default 1,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index appointments_by_start on appointments (tenant, starts_at, id);
create index appointments_by_patient on appointments (tenant, patient, starts_at);

create table staff (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    "user" uuid not null, role text not null,
    name bytea not null, job_title bytea not null, email bytea not null,
    test boolean not null default false,
    primary key (tenant, id),
    unique (tenant, "user")
);

-- An employee is a person with a key of their own, as a patient is.
create table employees (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    staff uuid not null,
    ni_number bytea not null, sort_code bytea not null, account_number bytea not null, salary_gbp bytea not null,
    started bigint not null,
    version bigint not null default 1,
    test boolean not null default false,
    primary key (tenant, id),
    unique (tenant, staff),
    foreign key (tenant, staff) references staff (tenant, id)
);
