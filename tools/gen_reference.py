"""Write the reference pages that are made from code: configuration, events, metrics, faces.

Without arguments the pages under docs/reference/ are written; with `--check` nothing is written,
and the exit code is 1 when a page differs from what the tables say. The pages are the tables and
a few words around them: what cannot be derived from the code does not belong there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from duly.config import settings_table
from duly.config.notify_keys import KEYS, KINDS, RULE_KEYS, Key
from duly.events import EventDoc, event_table
from duly.server.metric_table import metrics_table
from duly.server.tally import BUCKETS_S

sys.path.insert(0, str(Path(__file__).resolve().parent))
from gen_faces import commands, python

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Made by tools/gen_reference.py from the tables in the code; do not edit by hand. -->"

CONFIGURATION = f"""{NOTE}

# Configuration

Of two places that name one setting, the first of these wins:

1. a flag of the command line,
2. an environment variable,
3. `duly.toml`, then `[tool.duly]` of `pyproject.toml`, in the working directory; or the one file
   that `DULY_CONFIG` names,
4. the default.

Every setting has a full name with its room (`engine.lease`) and a short one (`lease`). Both hold
everywhere: `DULY_LEASE` is `DULY_ENGINE__LEASE`, and in a file `lease = "20s"` at the top is
`lease = "20s"` under `[engine]`. Naming one setting twice in one place is an error, and so is
every unknown name, with the nearest right one. `duly config show --origin` tells of each value
whence it came; `duly config check` tells every fault at once, and starts nothing.

Durations are written `90s`, `1h30m`, `250ms`, `2d` (units `w d h m s ms us`); in a file, a number
without quotes is seconds. Lists are written with commas in a variable and as arrays in a file. An
empty variable counts as not set. A secret may be kept in a file of its own, whose path is given
as `DULY_STORE_FILE=/run/secrets/store`. Variables that begin with `DULY_TEST_` or
`DULY_SECRET_`, and those that an orchestrator sets for a service called `duly` (such as
`DULY_SERVICE_HOST`), are passed over.

```toml
# duly.toml
store = "postgresql://duly@db.internal/duly"
queues = ["default", "mailers"]

[engine]
slots = 50

[log]
format = "json"
```
"""

NOTIFY = """## notify

Channels that tell people of incidents, by names of your own, and rules of who hears what. They
stand in a file only, in tables under `[notify.channels.NAME]` and `[[notify.rules]]`; of two files
the first that has any counts. What is a secret is named as `secret:NAME` and looked up when it is
used: in the variable `DULY_SECRET_NAME`, else in a file `NAME` of the folder `calls.secrets`.
[How to tell people](../how-to/notifications.md) shows them at work.
"""

EVENTS = f"""{NOTE}

# Events

Logs, metrics and your own subscribers are made of these. A field means the same in every event
that has it; one of type *… or null* may be absent. In JSON logs the name is `event`, and the
fields stand beside it. Levels are those of the standard logging module.
"""

METRICS = f"""{NOTE}

# Metrics

`/metrics` answers in Prometheus' text format (with the extra `metrics`). Each instance tells of
itself; sums over the fleet are the reader's. Of each of the labels `task`, `schedule`, `loop` and
`kind`, 200 values are told apart; later ones are counted as `_other`, so that the number of
series is bounded.

Histograms have buckets up to {", ".join(f"{bound:g}" for bound in BUCKETS_S)} seconds, and beyond.
"""


def configuration() -> str:
    """The page of settings, a table per room."""
    parts = [CONFIGURATION]
    for room, rows in groupby(settings_table(), lambda row: row.name.partition(".")[0]):
        lines = [
            (f"`{row.name}`", row.type, _code(row.default), f"`{row.env}`", row.meaning)
            for row in rows
        ]
        heads = ("setting", "type", "default", "variable", "meaning")
        parts.append(f"## {room}\n\n{_table(heads, lines)}")
    parts.append(NOTIFY)
    parts.append(f"### Every channel\n\n{_keys(KEYS)}")
    parts += [f'### `kind = "{kind}"`\n\n{_keys(keys)}' for kind, keys in KINDS.items()]
    parts.append(f"### A rule\n\n{_keys(RULE_KEYS)}")
    return "\n".join(parts)


def _keys(keys: Mapping[str, Key]) -> str:
    rows = []
    for name, key in keys.items():
        default = "must be given" if key.needed else key.default or "none"
        rows.append((f"`{name}`", key.shape, default, key.meaning))
    return _table(("key", "type", "default", "meaning"), rows)


def events() -> str:
    """The page of events, a chapter per thing they happen to."""
    by_thing: dict[str, list[EventDoc]] = {}
    for row in event_table():
        by_thing.setdefault(row.name.partition(".")[0], []).append(row)
    parts = [EVENTS]
    for thing in sorted(by_thing):
        parts.append(f"## {thing}\n")
        parts.extend(_event(row) for row in by_thing[thing])
    return "\n".join(parts)


def metrics() -> str:
    """The page of metrics, one table."""
    rows = [
        (f"`{doc.name}`", doc.kind, " ".join(f"`{label}`" for label in doc.labels), doc.meaning)
        for doc in metrics_table()
    ]
    return METRICS + "\n" + _table(("metric", "kind", "labels", "meaning"), rows)


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "events.md": events,
    "metrics.md": metrics,
    "commands.md": commands,
    "python.md": python,
}


def _event(row: EventDoc) -> str:
    fields = [(f"`{field.name}`", field.type, field.meaning) for field in row.fields]
    head = f"### {row.name}\n\n*{row.level.name.lower()}.* {row.meaning}\n"
    return f"{head}\n{_table(('field', 'type', 'meaning'), fields)}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---"] * len(heads)
    body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, ruler, *body))


def _code(text: str) -> str:
    return f"`{text}`" if text else "none"


def stale(folder: Path) -> list[str]:
    """Return the names of pages in `folder` that differ from what the tables say."""
    return [
        name
        for name, make in PAGES.items()
        if not (folder / name).exists() or (folder / name).read_text("utf-8") != make()
    ]


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with `--check` say which are stale; return the exit code."""
    if list(arguments) == ["--check"]:
        found = stale(FOLDER)
        for name in found:
            print(f"docs/reference/{name} is stale; run python tools/gen_reference.py")
        return int(bool(found))
    if arguments:
        print("usage: gen_reference.py [--check]", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
