"""The schema: numbered steps, forward only, each recorded in the transaction that takes it.

`duly_meta` holds the number of the schema and the oldest code that it still serves, so that
old and new processes can work on one database while an upgrade rolls out. Steps run under the
write lock: of several processes that migrate at once, one takes each step.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from duly.errors import StoreMismatch
from duly.stores.sqlite.border import never_migrated
from duly.stores.sqlite.tx import Tx

SERVES_FROM = 1
"""The oldest schema whose code can still work on this one."""

_META = """create table duly_meta (name text primary key, value any) strict, without rowid;
    insert into duly_meta (name, value) values
        ('schema', 0), ('serves', 0), ('generation', 1), ('counter', 0),
        ('store', lower(hex(randomblob(16))))"""


@cache
def steps() -> tuple[tuple[int, str, str], ...]:
    """Return the steps in order: number, name, text."""
    folder = resources.files("duly.stores.sqlite") / "migrations"
    found = [one for one in folder.iterdir() if one.name.endswith(".sql")]
    return tuple(
        (int(one.name[:4]), one.name.removesuffix(".sql"), one.read_text("utf-8"))
        for one in sorted(found, key=lambda one: one.name)
    )


def newest() -> int:
    """Return the number of the schema this code is written for."""
    return steps()[-1][0]


def standing_at(tx: Tx) -> int:
    """Return the number of the schema in the database; 0 when there is none."""
    if tx.value("select 1 from sqlite_schema where name = 'duly_meta'") is None:
        return 0
    return int(tx.value("select value from duly_meta where name = 'schema'"))


def step_forward(tx: Tx) -> str | None:
    """Take the next step, and return its name; None when the schema is up to date."""
    at = standing_at(tx)
    for number, name, text in steps():
        if number <= at:
            continue
        if at == 0:
            tx.conn.execute(_META)
        tx.conn.execute(text)
        tx.do("update duly_meta set value = ? where name = 'schema'", number)
        tx.do("update duly_meta set value = ? where name = 'serves'", SERVES_FROM)
        return name
    return None


def check(tx: Tx, path: Path) -> int:
    """Return the schema's number; raise `StoreMismatch` when this code cannot work on it."""
    at = standing_at(tx)
    if at == 0:
        raise never_migrated(path)
    if at < newest():
        raise StoreMismatch(
            f"{path} has schema {at}, older than this code's {newest()};"
            " bring it forward with: duly db migrate"
        )
    serves = int(tx.value("select value from duly_meta where name = 'serves'"))
    if serves > newest():
        raise StoreMismatch(
            f"{path} has schema {at}, which serves code of schema {serves} or newer; this code"
            f" knows {newest()}: upgrade Duly"
        )
    return at
