"""`duly server`: the REST API, closed by default.

It listens on loopback unless told otherwise, and where others can reach it only once there is a
key. Without any key everything but health answers 401; on a terminal a first key is made and
printed, once. A signal stops it after the requests in flight; a second one stops it now.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from duly.app import Duly
from duly.cli.keys import good_keys
from duly.cli.session import app_options, find_app, must_be_there, person
from duly.cli.working import one_of
from duly.config import is_loopback
from duly.core.access import ApiKey, Role, digest_of, hint_of, make_secret
from duly.engine import draw_secret
from duly.errors import ConfigError, StoreUnavailable, one_line
from duly.server.logs import LEVELS, Logs, tell_on

if TYPE_CHECKING:
    import uvicorn

HEADERS = 16_384
AT_ONCE = 1_000
BACKLOG = 512
LAST_WORDS_S = 5


@click.command()
@click.argument("file", required=False)
@click.option("--host", help="Address to listen on; default: server.host.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; default: server.port.")
@app_options
def server(
    file: str | None, host: str | None, port: int | None, app_spec: str | None, store: str | None
) -> None:
    """Serve the REST API.

    With an application (FILE or --app) its tasks can be asked for and scheduled; without one
    there is everything else.
    """
    app = find_app(one_of(file, app_spec), store)
    app.configure(server_host=host, server_port=port)
    must_be_there(app, create=True)
    settings = app.settings
    tell_on(sys.stderr, settings.log)
    logs = Logs(monotonic=app.clock.monotonic, level=LEVELS[settings.log.level])
    logs.attach(app.bus)
    code = asyncio.run(_serve(app))
    logs.flush()
    if code:
        sys.exit(code)


async def _serve(app: Duly) -> int:
    """Serve until a signal; tell meanwhile when nobody else is left to. Returns the exit code."""
    import_server()
    try:
        await _begin(app)
        listening = listen(app.settings.server.host, app.settings.server.port)
        place = listening.getsockname()
        shown = f"[{place[0]}]" if ":" in place[0] else place[0]
        click.echo(f"listening on http://{shown}:{place[1]}", err=True)
        return await _serve_and_watch(app, _server(app), listening)
    finally:
        await app.close()


async def _serve_and_watch(app: Duly, api: uvicorn.Server, listening: socket.socket) -> int:
    """Serve; where a look gave up, stop in order, so that whoever started this starts it again."""
    watching = asyncio.create_task(app.watch(), name="duly watching")

    def over(_: asyncio.Task[int]) -> None:
        api.should_exit = True

    watching.add_done_callback(over)
    try:
        await api.serve(sockets=[listening])
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    return 0 if watching.cancelled() else watching.result()


async def _begin(app: Duly) -> None:
    """Open the store and hold that nobody gets in without a key; go on where it is away.

    While it is away everything but `/livez` answers 503, and once it is back nobody gets in
    without a key: so nothing is open that should not be.
    """
    try:
        await app.open()
        await _must_be_closed(app)
    except StoreUnavailable as error:
        if error.permanent:
            raise
        click.echo(
            f"the store is away: {one_line(error)}; until it is back all answers 503", err=True
        )


def import_server() -> None:
    """Raise `ConfigError` when the extra `server` is not installed."""
    try:
        import fastapi as _fastapi  # noqa: F401 - it is looked for, not used
        import uvicorn as _uvicorn  # noqa: F401 - it is looked for, not used
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"duly server needs the package {error.name}: pip install 'duly[server]'"
        ) from None


async def _must_be_closed(app: Duly) -> None:
    """Hold that nobody gets in without a key, and that there is a way to get one."""
    if app.settings.server.token:
        return
    if good_keys(await app.store.keys(), await app.store.clock()):
        return
    host = app.settings.server.host
    if not is_loopback(host):
        raise ConfigError(
            f"expected a key before listening on {host}: make one with"
            " `duly keys create NAME --role admin`, or listen on 127.0.0.1"
        )
    if sys.stderr.isatty():
        await _first_key(app)
    else:
        click.echo(
            "there is no key yet, so everything but health answers 401; make one:"
            " duly keys create NAME --role admin",
            err=True,
        )


async def _first_key(app: Duly) -> None:
    text = make_secret(draw_secret())
    key = ApiKey(
        id=app.clock.new_id(),
        digest=digest_of(text),
        hint=hint_of(text),
        name="first",
        role=Role.ADMIN,
        made_by=f"duly server of {person()}",
    )
    await app.store.add_key(key)
    click.echo(f"a first key, of an admin; it is shown this once:\n\n  {text}\n", err=True)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises `ConfigError` when the place is taken.

    The protocol is named, because asyncio turns Nagle's algorithm off only where it is: otherwise
    each answer, which is sent in two parts, would wait 40 ms for a delayed acknowledgement.
    """
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((bare, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        said = error.strerror or str(error)
        raise ConfigError(f"expected {host}:{port} to be free: {said}") from None
    return made


def _server(app: Duly) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """uvicorn with signals that end the process with code 0."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            loop = asyncio.get_running_loop()
            numbers = (signal.SIGTERM, signal.SIGINT)
            for number in numbers:
                loop.add_signal_handler(number, self.handle_exit, number, None)
            try:
                yield
            finally:
                for number in numbers:
                    loop.remove_signal_handler(number)

    return Server(uvicorn.Config(app.asgi(), **_limits()))


def _limits() -> dict[str, Any]:
    return {
        "access_log": False,
        "h11_max_incomplete_event_size": HEADERS,
        "http": "h11",
        "lifespan": "on",
        "limit_concurrency": AT_ONCE,
        "log_config": None,
        "proxy_headers": False,
        "server_header": False,
        "timeout_graceful_shutdown": LAST_WORDS_S,
        "ws": "none",
    }
