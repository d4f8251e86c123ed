-- What the code of runs logged. Code of earlier schemas neither writes nor reads it.

create table duly_log (
    run uuid not null,
    epoch integer not null,
    told bigint not null, -- lines that were logged by then; of these the last are kept
    lines bytea not null,
    primary key (run, epoch)
);
