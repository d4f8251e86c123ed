-- The cluster of an instance. Code of earlier schemas writes none, which is what it knows.

alter table duly_instance add column cluster text collate "C" not null default '';
