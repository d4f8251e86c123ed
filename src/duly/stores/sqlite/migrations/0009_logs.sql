-- What the code of runs logged. Code of earlier schemas neither writes nor reads it.

create table duly_log (
  run   blob not null,
  epoch integer not null,
  told  integer not null, -- lines that were logged by then; of these the last are kept
  lines blob not null,
  primary key (run, epoch)
) strict;
