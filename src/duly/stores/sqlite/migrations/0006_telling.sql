-- Telling people: who acknowledged an incident, what each channel was told, and notices on their
-- way. New columns have defaults and new tables are new: code of the earlier schemas goes on.

alter table duly_incident add column owner text not null default '';
alter table duly_incident add column acknowledged_at integer;
alter table duly_incident add column acknowledged_by text;
alter table duly_incident add column acknowledged_note text;
create index duly_incident_changed on duly_incident (coalesce(closed_at, opened_at));
create index duly_incident_name on duly_incident (kind, subject, number);

create table duly_channel (
  name text primary key,
  body text not null
) strict, without rowid;

create table duly_told (
  incident  integer not null,
  channel   text not null,
  heard     integer not null, -- whether a rule tells this channel of it
  closed    integer not null, -- nothing is left to tell
  remind_at integer,
  reminded  integer not null,
  primary key (incident, channel)
) strict, without rowid;
create index duly_told_remind on duly_told (channel, remind_at) where remind_at is not null;

create table duly_notice (
  id      blob primary key,
  channel text not null,
  at      integer not null,
  sealed  integer not null, -- from then on it does not change
  sent_at integer,
  body    text not null
) strict, without rowid;
create index duly_notice_unsent on duly_notice (channel, at) where sent_at is null;
create index duly_notice_at on duly_notice (at);
