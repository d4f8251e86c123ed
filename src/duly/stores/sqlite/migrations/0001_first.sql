-- The first schema. Instants are microseconds since 1970 in UTC, ids blobs of 16 bytes.
-- Identity is written once and never changed; ready, held, later and ended are the places of
-- a run's moving part. Tables without a rowid have their key as their only tree.

create table duly_run (
  id           blob primary key,
  task         text not null,
  args         blob not null,
  queue        text not null,
  priority     integer not null,
  origin       text not null,
  enqueued_at  integer not null,
  key          text,
  run_at       integer,
  expires_at   integer,
  limit_key    text,
  max          integer,
  schedule     text,
  due          integer,
  window_start integer,
  parent       blob,
  asked_by     text
) strict, without rowid;

-- The second guard of "one run per occurrence"; the mark under the row's lock is the first.
create unique index duly_run_occurrence on duly_run (schedule, due)
  where schedule is not null and origin in ('clock', 'catch_up');
create index duly_run_schedule on duly_run (schedule, id) where schedule is not null;

create table duly_ready (
  queue      text not null,
  priority   integer not null,
  id         blob not null,
  task       text not null,
  epoch      integer not null,
  failures   integer not null,
  deaths     integer not null,
  ready_at   integer not null,
  expires_at integer,
  limit_key  text,
  primary key (queue, priority desc, id)
) strict, without rowid;
create index duly_ready_expires on duly_ready (expires_at)
  where expires_at is not null and epoch = 0;

create table duly_held (
  id         blob primary key,
  boot       blob not null,
  claim      blob not null,
  epoch      integer not null,
  claimed_at integer not null,
  failures   integer not null,
  deaths     integer not null,
  cancel     text,
  queue      text not null,
  priority   integer not null,
  limit_key  text
) strict, without rowid;
create index duly_held_claim on duly_held (boot, claim);

create table duly_later (
  id         blob primary key,
  state      text not null,
  wake_at    integer,
  reason     text,
  epoch      integer not null,
  failures   integer not null,
  deaths     integer not null,
  priority   integer not null,
  expires_at integer
) strict, without rowid;
create index duly_later_wake on duly_later (wake_at) where wake_at is not null;
create index duly_later_reason on duly_later (reason, priority desc, id)
  where reason is not null;
create index duly_later_expires on duly_later (expires_at)
  where expires_at is not null and epoch = 0;

create table duly_ended (
  id         blob primary key,
  state      text not null,
  ended_at   integer not null,
  epoch      integer not null,
  failures   integer not null,
  deaths     integer not null,
  boot       blob,
  started_at integer,
  result     blob,
  error      text,
  reason     text
) strict, without rowid;
create index duly_ended_state on duly_ended (state, ended_at);

create table duly_attempt (
  run        blob not null,
  epoch      integer not null,
  boot       blob not null,
  started_at integer not null,
  ended_at   integer not null,
  outcome    text not null,
  detail     text,
  primary key (run, epoch)
) strict, without rowid;
create index duly_attempt_taken on duly_attempt (boot) where outcome = 'take_over';

create table duly_key (
  task    text not null,
  key     text not null,
  run     blob not null,
  made_at integer not null,
  primary key (task, key)
) strict, without rowid;
create index duly_key_made on duly_key (made_at);

create table duly_limit (
  key text primary key,
  max integer not null
) strict, without rowid;

create table duly_slot (
  limit_key text not null,
  run       blob not null,
  primary key (limit_key, run)
) strict, without rowid;

create table duly_schedule (
  name          text primary key,
  owner         text not null,
  definition    text not null,
  digest        text not null,
  revision      integer not null,
  source        text not null,
  state         text not null,
  fired_through integer not null,
  next_fire     integer,
  last_run      text,
  open_range    text,
  reason        text,
  by            text,
  created_at    integer,
  changed_at    integer
) strict, without rowid;
create index duly_schedule_next on duly_schedule (next_fire) where next_fire is not null;

create table duly_revision (
  name   text not null,
  digest text not null,
  primary key (name, digest)
) strict, without rowid;

create table duly_backlog (
  schedule    text not null,
  after       integer not null,
  revision    integer not null,
  definition  text not null,
  until       integer not null,
  next_at     integer not null,
  window_from integer,
  drained     integer not null,
  open_range  text,
  primary key (schedule, after)
) strict, without rowid;
create index duly_backlog_next on duly_backlog (next_at);

-- Kept for ever; ranges of one schedule never overlap.
create table duly_verdict (
  number   integer primary key,
  schedule text not null,
  first    integer not null,
  last     integer not null,
  count    integer not null,
  verdict  text not null,
  reason   text not null,
  by       text not null,
  revision integer not null
) strict;
create index duly_verdict_first on duly_verdict (schedule, first);

create table duly_instance (
  boot        blob primary key,
  name        text not null,
  host        text not null,
  pid         integer not null,
  pid_space   text not null,
  owner       text not null,
  version     text not null,
  tasks       text not null,
  state       text not null,
  started_at  integer,
  seen_at     integer,
  lease_until integer,
  reason      text
) strict, without rowid;

create table duly_carries (
  boot     blob not null,
  schedule text not null,
  digest   text not null,
  primary key (boot, schedule)
) strict, without rowid;

create table duly_incident (
  number    integer primary key autoincrement,
  kind      text not null,
  subject   text not null,
  severity  text not null,
  summary   text not null,
  opened_at integer not null,
  closed_at integer,
  evidence  text not null
) strict;
create unique index duly_incident_open on duly_incident (kind, subject) where closed_at is null;
create index duly_incident_closed on duly_incident (closed_at) where closed_at is not null;
