-- One clinic. Blobs named in src/model.rs are sealed; `test` is 1 for demo data.

create table patients (
    id blob not null primary key check (length(id) = 16),
    given blob not null, given_index blob not null,
    family blob not null, family_index blob not null,
    birth_date blob not null, sex blob not null, phone blob, email blob, address blob, nhs_number blob,
    version integer not null default 1,
    created_at integer not null,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index patients_by_family on patients (family_index);
create index patients_by_given on patients (given_index);

-- Clinical master data stands apart: the front desk's query for a patient has no clinical column to forget.
create table patient_clinical (
    patient blob not null primary key references patients (id) on delete cascade,
    conditions blob not null, allergies blob not null
) strict, without rowid;

create table encounters (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    clinician blob not null, at integer not null, kind text not null, reason blob not null,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index encounters_by_patient on encounters (patient, at desc);

create table notes (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    author blob not null, at integer not null, text blob not null,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index notes_by_patient on notes (patient, at desc);

create table prescriptions (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    prescriber blob not null, at integer not null,
    drug blob not null, dose blob not null, instructions blob not null,
    status text not null check (status in ('active', 'stopped', 'completed')),
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index prescriptions_by_patient on prescriptions (patient, at desc);

create table results (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    at integer not null, body blob not null,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index results_by_patient on results (patient, at desc);

create table appointments (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    clinician blob not null, starts_at integer not null, minutes integer not null,
    reason blob not null,
    status text not null check (status in ('booked', 'cancelled', 'attended', 'did_not_attend')),
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index appointments_by_start on appointments (starts_at);
create index appointments_by_patient on appointments (patient, starts_at);

create table staff (
    id blob not null primary key check (length(id) = 16),
    user blob not null unique, role text not null,
    name blob not null, job_title blob not null, email blob not null,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;

-- An employee is a person with a key of their own, as a patient is.
create table employees (
    id blob not null primary key check (length(id) = 16),
    staff blob not null unique references staff (id),
    ni_number blob not null, sort_code blob not null, account_number blob not null, salary_gbp blob not null,
    started integer not null,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
