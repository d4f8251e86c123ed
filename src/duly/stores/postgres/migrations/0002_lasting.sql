-- What outlasts an attempt: steps, messages on their way out, events that runs await, effects.
--
-- New tables only, so code of the first schema still works on this one. What is replaced often
-- (a cursor's step, progress, an effect that is settled) has room on its page for it.

create table duly_step (
    run uuid not null,
    name text collate "C" not null,
    number int not null,
    kind text collate "C" not null,
    value bytea not null,
    at timestamptz not null,
    primary key (run, name)
) with (fillfactor = 90, autovacuum_vacuum_insert_scale_factor = 0.05);

create table duly_progress (
    run uuid primary key,
    done bigint,
    total bigint,
    note text,
    published bigint not null,
    effects bigint not null,
    at timestamptz not null
) with (fillfactor = 50);

create table duly_outbox (
    id uuid primary key,
    seq bigint generated always as identity,
    topic text collate "C" not null,
    key text,
    body bytea not null,
    run uuid,
    kept_at timestamptz not null
);
create index duly_outbox_order on duly_outbox (topic, seq);

create table duly_relay (
    topic text collate "C" primary key,
    boot uuid not null,
    until timestamptz not null
) with (fillfactor = 50);

create table duly_event (
    name text collate "C" primary key,
    body bytea not null,
    by text not null,
    at timestamptz not null
);
create index duly_event_at on duly_event (at);

create table duly_await (
    event text collate "C" not null,
    run uuid not null,
    grp text collate "C" not null,
    primary key (event, run, grp)
);
create index duly_await_run on duly_await (run);

create table duly_effect (
    task text collate "C" not null,
    name text collate "C" not null,
    key text collate "C" not null,
    state text collate "C" not null,
    intent uuid not null,
    run uuid not null,
    boot uuid not null,
    epoch int not null,
    intended_at timestamptz not null,
    deadline timestamptz not null,
    keep_until timestamptz not null,
    settled_at timestamptz,
    receipt bytea,
    by text not null,
    why text not null,
    primary key (task, name, key)
) with (fillfactor = 80);
create index duly_effect_intended on duly_effect (deadline) where state = 'intended';
create index duly_effect_uncertain on duly_effect (intended_at) where state = 'uncertain';
create index duly_effect_done on duly_effect (keep_until) where state = 'done';
create index duly_effect_run on duly_effect (run);

create table duly_effect_line (
    number bigint generated always as identity primary key,
    task text collate "C" not null,
    name text collate "C" not null,
    key text collate "C" not null,
    intent uuid not null,
    verb text collate "C" not null,
    by text not null,
    why text not null,
    at timestamptz not null,
    receipt bytea,
    accepted_double boolean not null
);
create index duly_effect_line_address on duly_effect_line (task, name, key);

alter table duly_outbox set (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0);
alter table duly_await set (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0);
alter table duly_progress set (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0);
alter table duly_relay set (autovacuum_vacuum_threshold = 200);

-- So that a limit of which no run is known any more can be found, and forgotten.
create index duly_run_limit on duly_run (limit_key) where limit_key is not null;
