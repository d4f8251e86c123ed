-- When an instance left, or was declared dead, and indexes for who reads what happened, and who is
-- there. Code of earlier schemas does not say when. No renewal changes what is indexed here, and no
-- run does.

alter table duly_instance add column left_at integer;
create index duly_instance_started on duly_instance (started_at);
create index duly_instance_left on duly_instance (left_at) where left_at is not null;
create index duly_instance_here on duly_instance (boot) where state in ('live', 'stopping');
create index duly_incident_acknowledged on duly_incident (acknowledged_at)
    where acknowledged_at is not null;
