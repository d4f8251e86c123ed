"""The command `duly`: its subcommands, and the one place where its exit code is decided.

Drivers, servers and rich are not imported here: `duly --help` answers at once. Every failure
leaves through `faults.tell`, so that nobody sees a traceback for a mistake of their own.
"""

from __future__ import annotations

import contextlib
import os
import sys

import click

from duly import __version__
from duly.cli import (
    asking,
    breakers,
    config,
    cron,
    db,
    doctor,
    editing,
    effects,
    fleet,
    happening,
    incidents,
    keys,
    notify,
    runs,
    schedules,
    serving,
    timers,
    working,
)
from duly.cli.faults import tell


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="duly", message="%(prog)s %(version)s")
def cli() -> None:
    """Background work that is due, done. Once, whatever dies.

    Start with: duly dev FILE. Ask: duly why RUN, SCHEDULE or EFFECT.
    """


for _command in (
    working.dev,
    working.worker,
    working.serve,
    serving.server,
    keys.keys,
    asking.run,
    asking.why,
    schedules.schedules,
    timers.timers,
    runs.runs,
    effects.effects,
    breakers.breakers,
    happening.events,
    happening.outbox,
    incidents.incidents,
    fleet.instances,
    notify.notify,
    db.db,
    doctor.doctor,
    config.config,
    cron.cron,
):
    cli.add_command(_command)
schedules.schedules.add_command(editing.edit)


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit; never returns."""
    sys.exit(_run(args))


def _run(args: list[str] | None) -> int:
    try:
        answer = cli.main(args, prog_name="duly", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter must not complain at its own exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException as error:
        return tell(error)
    return answer if isinstance(answer, int) else 0
