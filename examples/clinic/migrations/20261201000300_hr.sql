-- What the clinic keeps of those who work here, beside payroll. Days are the milliseconds at which they begin (UTC).
create table absences (
    id blob not null primary key check (length(id) = 16),
    employee blob not null references employees (id) on delete cascade,
    author blob not null, at integer not null,
    first_day integer not null, last_day integer not null check (last_day >= first_day),
    kind blob not null, note blob,
    status text not null check (status in ('requested', 'approved', 'refused')),
    version integer not null default 1,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index absences_by_employee on absences (employee, at desc);

create table timesheets (
    id blob not null primary key check (length(id) = 16),
    employee blob not null references employees (id) on delete cascade,
    author blob not null, at integer not null,
    minutes blob not null, note blob,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index timesheets_by_employee on timesheets (employee, at desc);

create table training (
    id blob not null primary key check (length(id) = 16),
    employee blob not null references employees (id) on delete cascade,
    at integer not null, expires integer,
    title blob not null,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index training_by_employee on training (employee, at desc);

create table credentials (
    id blob not null primary key check (length(id) = 16),
    employee blob not null references employees (id) on delete cascade,
    at integer not null, expires integer,
    kind blob not null, number blob not null,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index credentials_by_employee on credentials (employee, at desc);
