-- A search asks for words of a name: one row for each, found by its blind index.
create table patient_names (
    patient blob not null references patients (id) on delete cascade,
    word blob not null,
    primary key (patient, word)
) strict, without rowid;
create index patient_names_by_word on patient_names (word);

-- The index of a name of one word is that word's. Names of several are indexed when they are written next.
insert or ignore into patient_names select id, given_index from patients union select id, family_index from patients;
drop index patients_by_family;
drop index patients_by_given;
alter table patients drop column given_index;
alter table patients drop column family_index;
