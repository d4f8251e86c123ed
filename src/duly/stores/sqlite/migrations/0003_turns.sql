-- What is replaced counts its turn, so that a note that comes late takes nothing back. A new column
-- with a default: code of the second schema goes on, and replaces as it did.

alter table duly_step add column turn integer not null default 0;
