-- Telling people: who acknowledged an incident, what each channel was told, and notices on their
-- way. New columns have defaults and new tables are new: code of the earlier schemas goes on.

alter table duly_incident
    add column owner text not null default '',
    add column acknowledged_at timestamptz,
    add column acknowledged_by text,
    add column acknowledged_note text;
create index duly_incident_changed on duly_incident ((coalesce(closed_at, opened_at)));
create index duly_incident_name on duly_incident (kind, subject, id);

create table duly_channel (
    name text collate "C" primary key,
    body text not null
) with (fillfactor = 50);

create table duly_told (
    incident bigint not null,
    channel text collate "C" not null,
    heard boolean not null, -- whether a rule tells this channel of it
    closed boolean not null, -- nothing is left to tell
    remind_at timestamptz,
    reminded integer not null,
    primary key (incident, channel)
);
create index duly_told_remind on duly_told (channel, remind_at) where remind_at is not null;

create table duly_notice (
    id uuid primary key,
    channel text collate "C" not null,
    at timestamptz not null,
    sealed boolean not null, -- from then on it does not change
    sent_at timestamptz,
    body text not null
);
create index duly_notice_unsent on duly_notice (channel, at) where sent_at is null;
create index duly_notice_at on duly_notice (at);
