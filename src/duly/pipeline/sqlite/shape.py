"""What a table in an SQLite file looks like, and what its enrolment puts beside it.

SQLite gives a table's own numbers again (a rowid without AUTOINCREMENT, an id that the writer
chose), so none of them can be a cursor. Beside the table stands a log: one line per row, with an
AUTOINCREMENT number that a trigger draws inside the writer's transaction. There is one writer at
a time, from its first write to its commit, so the order of numbers is the order of commits. It
covers text keys and tables WITHOUT ROWID alike.

The texts of the triggers are held against the file each time a reader starts: a table that was
rebuilt by a migration lost them, and is refused rather than read with gaps.
"""

from __future__ import annotations

import msgspec

from duly.errors import InvalidValue, StoreMismatch, UnknownName
from duly.pipeline.base import quoted
from duly.pipeline.sqlite.link import Statements

SEQ, KEY = "duly_seq", "duly_key"

_INDEX_KEYS = """
select i.name from pragma_index_list(?) l, pragma_index_info(l.name) i
where l."unique" and not l.partial
group by l.name having count(*) = 1
"""


class Shape(msgspec.Struct, frozen=True):
    """A table as the file has it."""

    name: str
    columns: tuple[str, ...]
    primary: tuple[str, ...]
    unique: frozenset[str]
    triggers: dict[str, str]  # name to text
    logged: bool

    @property
    def log(self) -> str:
        """The name of the log beside the table, not quoted."""
        return f"duly_{self.name}_log"

    def key(self, pk: str | None) -> str:
        """Return the name of the key column; raise when it cannot tell rows apart."""
        if pk is None:
            if len(self.primary) != 1:
                raise InvalidValue(
                    f"expected {self.name} to have a primary key of one column, got"
                    f" {len(self.primary)}: pass pk="
                )
            return self.primary[0]
        if pk not in self.columns:
            raise UnknownName.of(f"column of {self.name}", pk, self.columns)
        if (pk,) != self.primary and pk not in self.unique:
            raise InvalidValue.expected(f"the key of {self.name}", "unique", pk)
        return pk

    def guards(self, pk: str, *, updates: bool) -> dict[str, str]:
        """Return the triggers of an enrolment: name to statement."""
        table, log, key = quoted(self.name), quoted(self.log), quoted(pk)
        # The plus takes the column's type off: compared with a typed column, the log's untyped one
        # would be converted row by row, past its index (test_sqlite.py counts the work).
        forget = f"delete from {log} where {KEY} is +"
        enter = f"insert into {log}({KEY}) values (new.{key});"
        # A null key would vanish under INSERT OR IGNORE, which rules inside triggers too.
        refuse = (
            "select raise(abort, 'the key of an enrolled table cannot be null')"
            f" where new.{key} is null;"
        )
        when = "" if updates else f" when old.{key} is not new.{key}"
        bodies = {
            "insert": f"{refuse} {forget}new.{key}; {enter}",
            f"update{when}": f"{refuse} {forget}old.{key}; {forget}new.{key}; {enter}",
            "delete": f"{forget}old.{key};",
        }
        return {
            f"duly_{self.name}_{event.split()[0]}": _trigger(self.name, table, event, body)
            for event, body in bodies.items()
        }

    def guarded(self, pk: str, *, updates: bool) -> bool:
        """Whether log and triggers are in place, as this version writes them."""
        wanted = self.guards(pk, updates=updates)
        return self.logged and all(
            self.triggers.get(name, "").partition(" ")[2] == text.partition(" ")[2]
            for name, text in wanted.items()
        )

    def must_be_enrolled(self, pk: str) -> None:
        """Raise `StoreMismatch` where a reader could miss rows."""
        if self.guarded(pk, updates=False) or self.guarded(pk, updates=True):
            return
        why = "lost the triggers of its enrolment" if self.logged else "is not enrolled"
        raise StoreMismatch(f'the table {self.name} {why}: call `enrol(conn, "{self.name}")`')


def _trigger(name: str, table: str, event: str, body: str) -> str:
    verb, _, condition = event.partition(" ")
    own = quoted(f"duly_{name}_{verb}")
    return f"CREATE TRIGGER {own} after {verb} on {table} {condition} begin {body} end"


def read_shape(do: Statements, table: str) -> Shape:
    """Read one table from the file; raise `UnknownName` with the nearest one there is."""
    tables = {
        name: text
        for name, text in do.rows("select name, sql from main.sqlite_master where type = 'table'")
    }
    if table not in tables:
        shown = [name for name in tables if not name.startswith(("sqlite_", "duly_"))]
        raise UnknownName.of("table", table, shown)
    if (tables[table] or "").lower().startswith("create virtual"):
        raise InvalidValue(f"expected {table} to be an ordinary table, got a virtual one")
    columns = do.rows("select name, pk from pragma_table_xinfo(?) where hidden <> 1", [table])
    triggers = do.rows(
        "select name, sql from main.sqlite_master where type = 'trigger' and tbl_name = ?", [table]
    )
    return Shape(
        name=table,
        columns=tuple(name for name, _ in columns),
        primary=tuple(name for name, pk in columns if pk),
        unique=frozenset(name for (name,) in do.rows(_INDEX_KEYS, [table])),
        triggers=dict(triggers),
        logged=f"duly_{table}_log" in tables,
    )
