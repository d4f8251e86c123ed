-- Breakers: the fleet's shared state of its targets, who changed it, and who told. New tables only,
-- so code of the earlier schemas goes on: it neither counts nor asks.

create table duly_breaker (
    name text collate "C" primary key,
    state text collate "C" not null,
    quiet boolean not null, -- closed, nothing counted, not forced: may be forgotten in time
    changed_at timestamptz not null,
    body text not null
) with (fillfactor = 50);

create table duly_breaker_line (
    number bigint generated always as identity primary key,
    breaker text collate "C" not null,
    verb text collate "C" not null,
    state text collate "C" not null,
    at timestamptz not null,
    by text not null,
    why text not null
);
create index duly_breaker_line_breaker on duly_breaker_line (breaker, number);
create index duly_breaker_line_at on duly_breaker_line (at);

create table duly_breaker_teller (
    boot uuid primary key,
    telling uuid not null,
    at timestamptz not null
) with (fillfactor = 50);

alter table duly_breaker set (autovacuum_vacuum_threshold = 200);
alter table duly_breaker_teller set (autovacuum_vacuum_threshold = 200);
