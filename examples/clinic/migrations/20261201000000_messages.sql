-- What a patient and the clinic write to each other.
create table messages (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    author blob not null, at integer not null,
    sender text not null check (sender in ('patient', 'clinic')),
    text blob not null,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index messages_by_patient on messages (patient, at desc);
