-- Breakers: the fleet's shared state of its targets, who changed it, and who told. New tables only,
-- so code of the earlier schemas goes on: it neither counts nor asks.

create table duly_breaker (
  name       text primary key,
  state      text not null,
  quiet      integer not null, -- closed, nothing counted, not forced: may be forgotten in time
  changed_at integer not null,
  body       text not null
) strict, without rowid;

create table duly_breaker_line (
  number  integer primary key autoincrement,
  breaker text not null,
  verb    text not null,
  state   text not null,
  at      integer not null,
  by      text not null,
  why     text not null
) strict;
create index duly_breaker_line_breaker on duly_breaker_line (breaker, number);
create index duly_breaker_line_at on duly_breaker_line (at);

create table duly_breaker_teller (
  boot    blob primary key,
  telling blob not null,
  at      integer not null
) strict, without rowid;
create index duly_breaker_teller_at on duly_breaker_teller (at);
