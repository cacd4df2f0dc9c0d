-- Who was invited to a patient's circle, and joined. Of a token only its SHA-256 is kept.
create table circle_invitations (
    id blob not null primary key check (length(id) = 16),
    patient blob not null references patients (id) on delete cascade,
    inviter blob not null, at integer not null,
    email blob not null, token_hash blob not null unique check (length(token_hash) = 32),
    expires_at integer not null, used_at integer, "user" blob,
    test integer not null default 0 check (test in (0, 1))
) strict, without rowid;
create index circle_invitations_by_patient on circle_invitations (patient, at desc);
