"""What most commands share: which application, which store, who asks, and how to open it.

A command that needs no code works on any store: without `--app` (or `DULY_APP`) an application
without tasks stands in. A SQLite file that does not exist is never created by a look at it.
"""

from __future__ import annotations

import asyncio
import functools
import getpass
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from duly.app import Duly
from duly.cli.faults import UNREACHABLE, USAGE, Fault
from duly.cli.loading import load_app
from duly.config import StoreKind
from duly.core.access import on_rows
from duly.stores.base import Standing

T = TypeVar("T")
Fn = TypeVar("Fn", bound=Callable[..., Any])

APP_ENV = "DULY_APP"


def store_option(fn: Fn) -> Fn:
    """Add `--store`."""
    return click.option(
        "--store",
        metavar="URL",
        help="The store: sqlite:///file.db or postgresql://user@host/database.",
    )(fn)


def app_options(fn: Fn) -> Fn:
    """Add `--app` and `--store`."""
    fn = store_option(fn)
    return click.option(
        "-A",
        "--app",
        "app_spec",
        metavar="MODULE[:ATTR]|FILE",
        envvar=APP_ENV,
        help="The application, as module:attr, module or file.py (DULY_APP).",
    )(fn)


def by_options(*, reason: bool = True) -> Callable[[Fn], Fn]:
    """Add `--by`, and `--reason` where it is asked for."""

    def add(fn: Fn) -> Fn:
        if reason:
            fn = click.option("--reason", default="", help="Why, for whoever asks later.")(fn)
        return click.option(
            "--by", default=person, show_default="you@this-host", help="Who does this."
        )(fn)

    return add


def output_option(fn: Fn) -> Fn:
    """Add `-o table|json`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Shape of the listing; json is stable.",
    )(fn)


def asynchronous(fn: Callable[..., Awaitable[T]]) -> Callable[..., T]:
    """Make a command of a coroutine function."""

    @functools.wraps(fn)
    def command(*args: Any, **kwargs: Any) -> T:
        async def run() -> T:
            return await fn(*args, **kwargs)

        return asyncio.run(run())

    return command


def person() -> str:
    """Return who is asking: user and host."""
    try:
        user = os.environ.get("USER") or getpass.getuser()
    except (OSError, KeyError):  # a container without a name for its user
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


tenant_option = click.option(
    "--tenant", help="Those of this tenant only; default: of none, the house's own."
)


def whose(tenant: str | None) -> str | None:
    """Return the tenant of a filter; raises `InvalidValue` for a name that none can have."""
    return None if tenant is None else on_rows(tenant)


def find_app(app_spec: str | None, store: str | None, *, needed_for: str = "") -> Duly:
    """Return the application of a command, on the store it names."""
    if app_spec is None and needed_for:
        raise Fault(
            f"{needed_for} needs the application: name it with -A module:attr or -A file.py, or"
            f" set {APP_ENV}",
            USAGE,
        )
    app = load_app(app_spec) if app_spec is not None else Duly()
    app.configure(store=store)
    return app


def must_be_there(app: Duly, *, create: bool = False) -> None:
    """Raise `Fault` for a store that another process could not see, or a file that is missing."""
    parsed = app.settings.store.parsed
    if parsed.kind is StoreKind.MEMORY:
        raise Fault("memory:// is seen by one process only; this command needs another", USAGE)
    path = Path(parsed.path or "")
    if parsed.kind is StoreKind.SQLITE and not create and not path.exists():
        raise Fault(
            f"there is no store at {path.absolute()} yet: duly dev FILE or duly db migrate"
            " makes one, --store names another",
            UNREACHABLE,
        )


@asynccontextmanager
async def opened(app: Duly, *, create: bool = False) -> AsyncIterator[Standing]:
    """Open the application's store for a command; `create` makes a SQLite file where none is."""
    must_be_there(app, create=create)
    standing = await app.open() if create else await app.store.open()
    try:
        yield standing
    finally:
        await (app.close() if create else app.store.close())
