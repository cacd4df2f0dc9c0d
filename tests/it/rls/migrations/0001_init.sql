set local lock_timeout = '5s';
set local statement_timeout = '60s';
create table patients (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null, name bytea not null,
    primary key (tenant, id)
);
create table patient_words (
    tenant text not null default ward.tenant() references ward.tenants (id),
    patient uuid not null, word bytea not null,
    primary key (tenant, patient, word),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index patient_words_by_word on patient_words (tenant, word);
create table notes (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null, patient uuid not null, author text, text bytea not null,
    primary key (tenant, id),
    foreign key (tenant, patient) references patients (tenant, id) on delete cascade
);
create index notes_by_patient on notes (tenant, patient);
create table staff (
    tenant text not null default ward.tenant() references ward.tenants (id),
    id uuid not null, salary bytea not null,
    primary key (tenant, id)
);
create table counters (
    tenant text not null default ward.tenant() references ward.tenants (id),
    name text not null, value bigint not null,
    primary key (tenant, name)
);
create table codes (code text primary key, display text not null);
insert into codes values ('E11', 'Type 2 diabetes mellitus');
