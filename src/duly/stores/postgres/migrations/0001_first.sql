-- The first schema. Every statement of a step runs in one transaction with the record of the step.
--
-- A run has one immutable identity row, and one moving row that is in exactly one of ready, later,
-- held and ended. Text that is sorted or looked up is compared by code point (collate "C"), as the
-- core does. The moving tables are emptied as fast as they are filled, so they are vacuumed early.

create table duly_meta (
    one boolean primary key default true check (one),
    schema_version int not null,
    serves_from int not null,
    generation bigint not null default 1,
    trusted boolean not null default true,
    why text not null default '',
    system_identifier text,
    timeline int,
    accepted_by text,
    accepted_reason text
);

create table duly_run (
    id uuid primary key,
    enqueued_at timestamptz not null,
    task text collate "C" not null,
    args bytea not null,
    queue text collate "C" not null,
    priority smallint not null,
    origin text collate "C" not null,
    key text collate "C",
    run_at timestamptz,
    expires_at timestamptz,
    limit_key text collate "C",
    max_running int not null,
    schedule text collate "C",
    due timestamptz,
    window_start timestamptz,
    parent uuid,
    asked_by text
) with (autovacuum_vacuum_insert_scale_factor = 0.05);
create unique index duly_run_occurrence on duly_run (schedule, due)
    where origin in ('clock', 'catch_up');
create index duly_run_schedule on duly_run (schedule, id) where schedule is not null;

create table duly_ready (
    queue text collate "C" not null,
    priority smallint not null,
    id uuid not null,
    task text collate "C" not null,
    epoch int not null default 0,
    failures int not null default 0,
    deaths int not null default 0,
    ready_at timestamptz not null,
    expires_at timestamptz,
    limit_key text collate "C"
);
create unique index duly_ready_order on duly_ready (queue, priority desc, id);
create index duly_ready_expires on duly_ready (expires_at) where expires_at is not null;

create table duly_held (
    id uuid primary key,
    boot uuid not null,
    claim uuid not null,
    epoch int not null,
    failures int not null,
    deaths int not null,
    claimed_at timestamptz not null,
    limit_key text collate "C",
    cancel text
) with (fillfactor = 90);
create index duly_held_boot on duly_held (boot, claim);

create table duly_later (
    id uuid primary key,
    state text collate "C" not null,
    wake_at timestamptz,
    epoch int not null default 0,
    failures int not null default 0,
    deaths int not null default 0,
    expires_at timestamptz,
    reason text collate "C"
);
create index duly_later_wake on duly_later (wake_at) where wake_at is not null;
create index duly_later_reason on duly_later (reason) where state = 'waiting' and reason is not null;
create index duly_later_expires on duly_later (expires_at) where expires_at is not null;

create table duly_ended (
    id uuid primary key,
    state text collate "C" not null,
    epoch int not null,
    failures int not null,
    deaths int not null,
    ended_at timestamptz not null,
    boot uuid,
    started_at timestamptz,
    result bytea,
    error text,
    reason text
) with (autovacuum_vacuum_insert_scale_factor = 0.05);
create index duly_ended_at on duly_ended (ended_at);

create table duly_attempt (
    run uuid not null,
    epoch int not null,
    boot uuid not null,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    outcome text collate "C" not null,
    detail text,
    primary key (run, epoch)
);
create index duly_attempt_death on duly_attempt (boot) where outcome = 'take_over';

create table duly_key (
    task text collate "C" not null,
    key text collate "C" not null,
    run uuid not null,
    made_at timestamptz not null,
    primary key (task, key)
);
create index duly_key_made on duly_key (made_at);

create table duly_limit (
    key text collate "C" primary key,
    max_running int not null
) with (fillfactor = 50);

create table duly_slot (
    run uuid primary key,
    limit_key text collate "C" not null
);
create index duly_slot_key on duly_slot (limit_key);

create table duly_schedule (
    name text collate "C" primary key,
    owner text not null,
    definition text not null,
    digest text collate "C" not null,
    revision int not null,
    source text collate "C" not null,
    state text collate "C" not null,
    fired_through timestamptz not null,
    next_fire timestamptz,
    last_run uuid,
    open_range text,
    reason text,
    by text,
    created_at timestamptz,
    changed_at timestamptz
) with (fillfactor = 70);
create index duly_schedule_due on duly_schedule (next_fire) where next_fire is not null;

create table duly_revision (
    name text collate "C" not null,
    digest text collate "C" not null,
    primary key (name, digest)
);

create table duly_backlog (
    schedule text collate "C" not null,
    after timestamptz not null,
    until timestamptz not null,
    revision int not null,
    definition text not null,
    next_at timestamptz not null,
    window_from timestamptz,
    drained int not null,
    open_range text,
    primary key (schedule, after)
);
create index duly_backlog_due on duly_backlog (next_at);

create table duly_verdict (
    schedule text collate "C" not null,
    first timestamptz not null,
    last timestamptz not null,
    count bigint not null,
    verdict text collate "C" not null,
    reason text not null,
    by text not null,
    revision int not null
);
create index duly_verdict_first on duly_verdict (schedule, first);

create table duly_instance (
    boot uuid primary key,
    name text not null,
    host text not null,
    pid int not null,
    pid_space text not null,
    owner text not null,
    version text not null,
    tasks text[] not null,
    state text collate "C" not null,
    started_at timestamptz,
    seen_at timestamptz,
    lease_until timestamptz,
    reason text,
    last_claim uuid,
    beats bigint not null default 0
) with (fillfactor = 20);

create table duly_carries (
    boot uuid not null,
    schedule text collate "C" not null,
    digest text collate "C" not null,
    primary key (boot, schedule)
);

create table duly_presence (
    boot uuid primary key,
    server_started timestamptz not null
);

create table duly_incident (
    id bigint generated always as identity primary key,
    kind text collate "C" not null,
    subject text collate "C" not null,
    severity text not null,
    summary text not null,
    opened_at timestamptz,
    closed_at timestamptz,
    evidence text not null
);
create unique index duly_incident_open on duly_incident (kind, subject) where closed_at is null;

alter table duly_ready set (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0);
alter table duly_held set (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0);
alter table duly_later set (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0);
alter table duly_schedule set (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0);
alter table duly_instance set (autovacuum_vacuum_threshold = 200);
alter table duly_limit set (autovacuum_vacuum_threshold = 200);
