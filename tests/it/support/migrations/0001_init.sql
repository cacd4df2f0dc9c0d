create table patients (id blob not null primary key, name blob not null) strict, without rowid;
create table notes (id blob not null primary key, patient blob not null references patients (id), author text, text blob not null) strict, without rowid;
create index notes_by_patient on notes (patient);
create table staff (id blob not null primary key, salary blob not null) strict, without rowid;
