-- Who may call the API, and what was changed by calling. New tables only: older code goes on.

create table duly_api_key (
    id blob primary key,
    digest text not null unique,
    hint text not null,
    name text not null,
    role text not null,
    tenant text not null,
    scopes text not null,
    made_at integer not null,
    made_by text not null,
    expires_at integer,
    used_at integer,
    revoked_at integer,
    revoked_by text not null,
    revoked_why text not null
) strict, without rowid;

create table duly_change (
    id blob primary key,
    tenant text not null,
    by text not null,
    key blob,
    action text not null,
    subject text not null,
    why text not null,
    before text not null,
    asked text not null,
    at integer not null,
    outcome text,
    after text,
    settled_at integer
) strict, without rowid;
