"""A user's mistake is answered with a sentence that helps, the right exit code, no traceback."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from duly.cli.faults import fault_of
from duly.errors import (
    ConfigError,
    DulyBug,
    InvalidValue,
    Refused,
    StoreFull,
    StoreMismatch,
    StoreReadOnly,
    StoreRefused,
    StoreUnavailable,
    UnknownName,
    WorkFailed,
)
from tests.cli.typed import duly

GOOD = """
from duly import Duly
app = Duly()

@app.task
async def add(a: int, b: int = 2) -> int:
    return a + b
"""

BARE = """
from duly import Duly
app = Duly()

@app.task
async def nightly() -> None: ...
"""

FILES = {
    "good.py": GOOD,
    "syntax.py": "from duly import Duly\napp = Duly()\nx = = 1\n",
    "indent.py": "from duly import Duly\n  app = Duly()\n",
    "imports.py": "from duly import Duly\nimport not_there_at_all\napp = Duly()\n",
    "raises.py": "def deep():\n    return 1 / 0\n\ndeep()\n",
    "exits.py": "import sys\nsys.exit(3)\n",
    "none.py": "x = 1\n",
    "two.py": "from duly import Duly\nfirst, second = Duly(), Duly()\n",
    "zone.py": BARE.replace("@app.task", '@app.task(cron="0 1 * * *", tz="Europe/Amsterdm")'),
    "never.py": BARE.replace("@app.task", '@app.task(cron="0 0 30 2 *")'),
    "option.py": GOOD.replace("@app.task", "@app.task(retrys=3)"),
    "twice.py": GOOD + "\n@app.task(name='add')\ndef again() -> None: ...\n",
    "text.txt": "hello",
    "broken.toml": "store = [",
    "no_database.db": "this is no database at all, but a text that is long enough to look\n" * 40,
}

ON = ("--store", "sqlite:///duly.db")

# What is typed; the exit code; words that stderr must have.
TYPED: list[tuple[str, int, tuple[str, ...]]] = [
    ("worker nosuch.py", 2, ("there is no file nosuch.py",)),
    ("worker syntax.py", 78, ("syntax.py:3: SyntaxError", "x = = 1", "^")),
    ("worker indent.py", 78, ("indent.py:2: IndentationError", "app = Duly()")),
    ("worker imports.py", 78, ("No module named 'not_there_at_all'", "imports.py", "line 2")),
    ("worker raises.py", 78, ("ZeroDivisionError", "raises.py", "line 2, in deep", "return 1 / 0")),
    ("worker exits.py", 78, ("ended the process (exit 3)", "__main__")),
    ("worker none.py", 78, ("no Duly app was found in none.py", "app = Duly()")),
    ("worker two.py", 78, ("several Duly apps are in two.py: first, second", "two.py:first")),
    ("worker two.py:third", 78, ("two.py has no 'third'", "known: first, second")),
    ("worker good.py:add", 78, ("expected good.py:add to be a Duly app, got a DeclaredTask",)),
    ("worker -A nosuch", 2, ("no module is called 'nosuch'",)),
    ("worker -A good --queues a,,b", 78, ("expected engine.queues", "--queues")),
    ("worker good.py -A two.py", 2, ("expected FILE or --app, got both",)),
    ("worker text.txt", 2, ("expected text.txt to be a Python file",)),
    ("worker .", 2, ("expected the application to be module:attr",)),
    ("worker", 2, ("duly worker needs the application", "DULY_APP")),
    ("dev", 2, ("duly dev needs the application",)),
    ("dev zone.py", 78, ("zone.py:5:", "did you mean 'Europe/Amsterdam'?", "@app.task")),
    ("dev never.py", 78, ("never.py:5:", "due on a day that exists")),
    ("dev option.py", 78, ("option.py:5:", "no option is called 'retrys'", "'retries'")),
    ("dev twice.py", 78, ("two tasks are called 'add'",)),
    ("dev good.py --store mysql://h/d", 78, ("MySQL is not supported yet",)),
    ("dev good.py --store nonsense", 78, ("expected store.url to be a URL such as",)),
    ("dev good.py --store sqlite:///no/such/dir/duly.db", 78, ("does not exist",)),
    ("dev good.py --store sqlite:///no_database.db", 78, ("is not a SQLite database",)),
    ("dev good.py --store postgresql://x@127.0.0.1:1/y", 69, ("127.0.0.1", "cannot be reached")),
    ("runs list --store postgresql://x@127.0.0.1:1/y", 69, ("cannot be reached",)),
    ("runs list --store postgresql://x@no-such-host.invalid/y", 69, ("cannot be reached",)),
    ("runs list", 69, ("there is no store at", "duly db migrate")),
    ("runs list --store memory://", 2, ("seen by one process only",)),
    ("runs list --state nosuch", 2, ("--state", "succeeded")),
    ("runs show 123", 69, ("there is no store",)),
    ("run ad -A good.py", 2, ("no task is called 'ad'", "'add'")),
    ("run add -A good.py --arg a", 2, ("expected --arg to be name=value, got 'a'",)),
    ("run add -A good.py --arg a=x", 2, ("expected arguments of add to fit (a, b)",)),
    ("run add -A good.py --args [1]", 2, ("expected --args to be a JSON object",)),
    ("run add", 2, ("duly run needs the application",)),
    ("cron explain nonsense", 2, ("five fields",)),
    ("cron explain @dayly", 2, ("did you mean '@daily'?",)),
    ("cron explain @daily --tz Mars", 2, ("no time zone is called 'Mars'",)),
    ("nosuch", 2, ("No such command 'nosuch'",)),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


@pytest.mark.parametrize(("typed", "code", "words"), TYPED, ids=[one[0] for one in TYPED])
def test_a_mistake_is_answered_with_what_helps(
    folder: Path, typed: str, code: int, words: tuple[str, ...]
) -> None:
    done = duly(*typed.split(), cwd=folder)
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert "importlib" not in done.stderr


ENVIRONMENTS = [
    ({"DULY_CONFIG": "broken.toml"}, 78, "expected", "to be TOML"),
    ({"DULY_LEESE": "3s"}, 78, "no environment variable is called 'DULY_LEESE'", "'DULY_LEASE'"),
    ({"DULY_LEASE": "1s"}, 78, "expected engine.lease", "longer than"),
    ({"DULY_APP": "good", "DULY_DEBUG": "0"}, 0, "", ""),
]


@pytest.mark.parametrize(("env", "code", "first", "second"), ENVIRONMENTS)
def test_the_environment_is_checked_like_the_command(
    folder: Path, env: dict[str, str], code: int, first: str, second: str
) -> None:
    done = duly("config", "check", cwd=folder, env=env)
    assert done.returncode == code, done.stderr
    assert first in done.stderr and second in done.stderr
    assert "Traceback" not in done.stderr


def test_debugging_shows_the_traceback(folder: Path) -> None:
    done = duly("runs", "list", cwd=folder, env={"DULY_DEBUG": "1"})
    assert done.returncode == 69
    assert "Traceback (most recent call last)" in done.stderr


def test_a_wrong_password_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with refusing_server("28P01", "password authentication failed") as port:
        url = f"postgresql://anna:secret-word@127.0.0.1:{port}/duly"
        done = duly("runs", "list", "--store", url, cwd=tmp_path)
    assert done.returncode == 78, done.stderr
    assert "the password was not accepted" in done.stderr
    assert "secret-word" not in done.stderr and "Traceback" not in done.stderr


@contextmanager
def refusing_server(code: str, message: str) -> Iterator[int]:
    """Listen on a loopback port and refuse every PostgreSQL client with one error."""
    fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": message}
    body = b"".join(k.encode() + v.encode() + b"\0" for k, v in fields.items()) + b"\0"
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_refuse, args=(server, body), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _refuse(server: socket.socket, body: bytes) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client:
            asked = client.recv(4096)
            if len(asked) == 8:  # a wish for TLS comes before the greeting
                client.sendall(b"N")
                client.recv(4096)
            client.sendall(b"E" + struct.pack("!i", len(body) + 4) + body)


CODES = [
    (InvalidValue("x"), 2),
    (UnknownName("x"), 2),
    (Refused("x"), 1),
    (WorkFailed("x"), 1),
    (ConfigError("x"), 78),
    (StoreRefused("x"), 78),
    (StoreReadOnly("x"), 78),
    (StoreMismatch("x"), 78),
    (StoreUnavailable("x"), 69),
    (StoreFull("x"), 75),
    (TimeoutError("x"), 75),
    (DulyBug("x"), 70),
    (KeyError("x"), 70),
    (KeyboardInterrupt(), 130),
    (OSError(28, "No space left on device", "duly.db"), 75),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda one: type(one).__name__)
def test_the_exit_code_says_whose_turn_it_is(error: BaseException, code: int) -> None:
    assert fault_of(error).code == code


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only files")
def test_a_read_only_file_is_told_as_such(folder: Path) -> None:
    assert duly("db", "migrate", cwd=folder).returncode == 0
    (folder / "duly.db").chmod(0o444)
    done = duly("run", "add", "-A", "good.py", "--arg", "a=1", cwd=folder)
    assert done.returncode == 78
    assert "can be read but not written" in done.stderr and "Traceback" not in done.stderr
