-- What outlasts an attempt: steps, progress, what is awaited, events, messages on their way out,
-- and the ledger of effects. Nothing of the first schema is changed.

create table duly_step (
  run    blob not null,
  name   text not null,
  number integer not null,
  kind   text not null,
  value  blob not null,
  at     integer not null,
  primary key (run, name)
) strict, without rowid;

create table duly_progress (
  run       blob primary key,
  done      integer,
  total     integer,
  note      text,
  published integer not null,
  effects   integer not null,
  at        integer not null
) strict, without rowid;

-- In the order of their commits: there is one writer.
create table duly_outbox (
  seq     integer primary key autoincrement,
  id      blob not null unique,
  topic   text not null,
  key     text,
  body    blob not null,
  run     blob,
  kept_at integer not null
) strict;
create index duly_outbox_topic on duly_outbox (topic, seq);

create table duly_relay (
  topic text primary key,
  boot  blob not null,
  until integer not null
) strict, without rowid;

create table duly_event (
  name text primary key,
  body blob not null,
  by   text not null,
  at   integer not null
) strict, without rowid;
create index duly_event_at on duly_event (at);

create table duly_await (
  event text not null,
  run   blob not null,
  grp   text not null,
  primary key (event, run, grp)
) strict, without rowid;
create index duly_await_run on duly_await (run);

-- One row per effect at most; when it is cleared, the row goes.
create table duly_effect (
  task        text not null,
  name        text not null,
  key         text not null,
  state       text not null,
  intent      blob not null,
  run         blob not null,
  boot        blob not null,
  epoch       integer not null,
  intended_at integer not null,
  deadline    integer not null,
  keep_until  integer not null,
  settled_at  integer,
  receipt     blob,
  by          text not null,
  why         text not null,
  primary key (task, name, key)
) strict, without rowid;
create index duly_effect_deadline on duly_effect (deadline, intent) where state = 'intended';
create index duly_effect_uncertain on duly_effect (intended_at, intent) where state = 'uncertain';
create index duly_effect_run on duly_effect (run);
create index duly_effect_newest on duly_effect (intended_at, intent);
create index duly_effect_keep on duly_effect (keep_until) where state = 'done';

create table duly_effect_line (
  number          integer primary key autoincrement,
  task            text not null,
  name            text not null,
  key             text not null,
  intent          blob not null,
  verb            text not null,
  by              text not null,
  why             text not null,
  at              integer not null,
  receipt         blob,
  accepted_double integer not null
) strict;
create index duly_effect_line_address on duly_effect_line (task, name, key);

-- So that a limit of which no run is known any more can be found, and forgotten.
create index duly_run_limit on duly_run (limit_key) where limit_key is not null;
