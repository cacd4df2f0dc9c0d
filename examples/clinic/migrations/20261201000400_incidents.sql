-- What went wrong, or nearly: rows of nobody, sealed under the clinic's key.
create table incidents (
    id blob not null primary key check (length(id) = 16),
    reporter blob not null, at integer not null,
    kind text not null check (kind in ('safety', 'near_miss', 'data', 'equipment', 'other')),
    title blob not null, text blob not null,
    status text not null check (status in ('open', 'closed')), outcome blob,
    version integer not null default 1,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index incidents_by_time on incidents (at desc, id desc);
