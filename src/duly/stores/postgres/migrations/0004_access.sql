-- Who may call the API, and what was changed by calling. New tables only: older code goes on.

create table duly_api_key (
    id uuid primary key,
    digest text collate "C" not null unique,
    hint text not null,
    name text not null,
    role text not null,
    tenant text collate "C" not null,
    scopes text not null,
    made_at timestamptz not null,
    made_by text not null,
    expires_at timestamptz,
    used_at timestamptz,
    revoked_at timestamptz,
    revoked_by text not null,
    revoked_why text not null
);

create table duly_change (
    id uuid primary key,
    tenant text collate "C" not null,
    by text not null,
    key uuid,
    action text not null,
    subject text not null,
    why text not null,
    before text not null,
    asked text not null,
    at timestamptz not null,
    outcome text,
    after text,
    settled_at timestamptz
);
