set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- Files in a patient's record. A list never reads `content`, which therefore comes last.
create table attachments (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    author uuid not null, at bigint not null,
    file_name bytea not null, media_type bytea not null,
    test boolean not null default false,
    content bytea not null,
    primary key (tenant, id),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index attachments_by_patient on attachments (tenant, patient, at, id);

-- Who was invited to a patient's circle, and joined. Of a token only its SHA-256 is kept.
create table circle_invitations (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    patient uuid not null,
    inviter uuid not null, at bigint not null,
    email bytea not null, token_hash bytea not null check (octet_length(token_hash) = 32),
    expires_at bigint not null, used_at bigint, "user" uuid,
    test boolean not null default false,
    primary key (tenant, id),
    unique (tenant, token_hash),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index circle_invitations_by_patient on circle_invitations (tenant, patient, at, id);

-- What the clinic keeps of those who work here, beside payroll. Days are the milliseconds at which they begin (UTC).
create table absences (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    employee uuid not null,
    author uuid not null, at bigint not null,
    first_day bigint not null, last_day bigint not null check (last_day >= first_day),
    kind bytea not null, note bytea,
    status text not null check (status in ('requested', 'approved', 'refused')),
    version bigint not null default 1,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, employee) references employees (tenant, id) on delete cascade
);
create index absences_by_employee on absences (tenant, employee, at, id);

create table timesheets (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    employee uuid not null,
    author uuid not null, at bigint not null,
    minutes bytea not null, note bytea,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, employee) references employees (tenant, id) on delete cascade
);
create index timesheets_by_employee on timesheets (tenant, employee, at, id);

create table training (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    employee uuid not null,
    at bigint not null, expires bigint,
    title bytea not null,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, employee) references employees (tenant, id) on delete cascade
);
create index training_by_employee on training (tenant, employee, at, id);

create table credentials (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    employee uuid not null,
    at bigint not null, expires bigint,
    kind bytea not null, number bytea not null,
    test boolean not null default false,
    primary key (tenant, id),
    foreign key (tenant, employee) references employees (tenant, id) on delete cascade
);
create index credentials_by_employee on credentials (tenant, employee, at, id);

-- What went wrong, or nearly: rows of nobody, sealed under the clinic's key.
create table incidents (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null,
    reporter uuid not null, at bigint not null,
    kind text not null check (kind in ('safety', 'near_miss', 'data', 'equipment', 'other')),
    title bytea not null, text bytea not null,
    status text not null check (status in ('open', 'closed')), outcome bytea,
    version bigint not null default 1,
    test boolean not null default false,
    primary key (tenant, id)
);
create index incidents_by_time on incidents (tenant, at, id);
