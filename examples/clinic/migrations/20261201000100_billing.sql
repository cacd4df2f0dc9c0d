-- What a patient is offered and billed. An invoice may come from a quote of the same patient, and from no other's.
create table quotes (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    author blob not null, at integer not null,
    lines blob not null, total blob not null,
    status text not null check (status in ('open', 'accepted', 'declined', 'expired')),
    version integer not null default 1,
    test integer not null default 0 check (test in (0, 1)),
    unique (id, patient)
) strict, without rowid;
create index quotes_by_patient on quotes (patient, at desc);

create table invoices (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    author blob not null, at integer not null, quote blob,
    lines blob not null, total blob not null,
    status text not null check (status in ('open', 'paid', 'cancelled')),
    version integer not null default 1,
    test integer not null default 0 check (test in (0, 1)),
    foreign key (quote, patient) references quotes (id, patient)
) strict, without rowid;
create index invoices_by_patient on invoices (patient, at desc);
create index invoices_by_quote on invoices (quote, patient);
