-- Conditions and allergies are read and replaced together; whoever read another version is told so.
alter table patient_clinical add column version integer not null default 1;
