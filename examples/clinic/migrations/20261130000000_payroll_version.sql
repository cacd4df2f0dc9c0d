-- Payroll data and appointments are changed too: of two who change the same, the second is told.
alter table employees add column version integer not null default 1;
alter table appointments add column version integer not null default 1;
