-- Whose a run and an effect are; empty: the house's. Schedules say so in their definitions.

alter table duly_run add column tenant text collate "C" not null default '';
alter table duly_effect add column tenant text collate "C" not null default '';

create index duly_run_tenant on duly_run (tenant, id) where tenant <> '';
create index duly_effect_tenant on duly_effect (tenant, intended_at, intent) where tenant <> '';
