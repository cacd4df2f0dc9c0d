-- Files in a patient's record. A list never reads `content`, which therefore comes last.
create table attachments (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    author blob not null, at integer not null,
    file_name blob not null, media_type blob not null,
    test integer not null default 0 check (test in (0, 1)),
    content blob not null
) strict;
create index attachments_by_patient on attachments (patient, at desc);
