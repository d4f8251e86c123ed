-- What a claim answers with travels with the ready row, so that claiming reads one table.
--
-- New columns only, and null is allowed: a ready row that was written by older code, by a retry or
-- with large arguments carries nothing, and its claim looks the identity up instead.

alter table duly_ready
    add column args bytea,
    add column origin text collate "C",
    add column enqueued_at timestamptz,
    add column schedule text collate "C",
    add column due timestamptz,
    add column window_start timestamptz,
    add column parent uuid;

-- Thousands of schedules may be due at the same instant: their order is read, never sorted.
create index duly_schedule_next on duly_schedule (next_fire, name) where next_fire is not null;
drop index duly_schedule_due;

-- What is replaced counts its turn, so that a note that comes late takes nothing back.
alter table duly_step add column turn int not null default 0;
