create table notes (
    id blob not null primary key,
    patient blob not null,
    text blob not null
) strict, without rowid;
create index notes_by_patient on notes (patient);
