"""The products that are measured, and the environment that peers live in.

Peers are installed into build/bench-peers from locks/bench.txt, every file by its hash, and never
into the project's own environment; so is the library that draws the plot. To add a product: write
`adapters/of_<name>.py` with a class `Adapter` (`adapters/system.py` says what it does), add it to
PRODUCTS and its distribution to PEERS_LOCKED, and make the lock anew with `python -m bench --lock`.

Why a peer is missing from a line is said where its lines are named.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "locks" / "bench.txt"
HOME = ROOT / "build" / "bench-peers"

PEERS_LOCKED = (
    *("asyncpg", "pgqueuer", "uvloop"),
    *("procrastinate", "psycopg[binary,pool]"),
    *("apscheduler<4", "sqlalchemy"),
    *("dbos", "huey", "celery[redis]"),
    *("cronsim", "croniter", "msgspec", "tzdata"),
    "matplotlib",
)


@dataclass(frozen=True, kw_only=True)
class Product:
    """One product, and what can be asked of it.

    `lines` are those it stands in. `ended` counts the jobs that ended well; without it nothing of
    a job remains at its end, and its start has to do. `slots` are the settings tried, 0 the
    default. `share` is the part of the full counts that keeps a slow product's time in bounds, and
    `far` the most later runs that line E surrounds it with.
    """

    name: str
    lines: tuple[str, ...]
    ended: str = ""
    slots: tuple[int, ...] = (0,)
    share: float = 1.0
    far: int = 100_000
    is_peer: bool = True
    needs_redis: bool = False
    hears_others: bool = True  # an enqueue of another process wakes its worker

    @property
    def python(self) -> str:
        """The interpreter it runs under."""
        return str(HOME / "bin" / "python") if self.is_peer else sys.executable

    @property
    def module(self) -> str:
        """The adapter that drives it."""
        return f"of_{self.name}"


DULY = Product(
    name="duly",
    lines=("A1", "A2", "A3", "B1", "B2", "C", "D", "E", "F", "G", "H", "I"),
    ended="select count(*) from duly_ended where state = 'succeeded'",
    slots=(0, 500, 2000),
    far=1_000_000,
    is_peer=False,
)
PRODUCTS = {
    one.name: one
    for one in (
        DULY,
        Product(
            name="pgqueuer",
            lines=("A1", "A2", "A3", "B1", "B2", "C", "D", "E", "F", "H"),
            ended="select count(*) from pgqueuer_log where status = 'successful'",
            slots=(50, 100, 250),
            far=1_000_000,
        ),
        Product(
            name="procrastinate",
            lines=("A1", "A2", "A3", "B1", "B2", "C", "D", "E", "F", "H"),
            ended="select count(*) from procrastinate_jobs where status = 'succeeded'",
            slots=(1, 30),
            share=0.1,
        ),
        # Its queue has no call for many jobs; A3 is many enqueues in one transaction.
        Product(
            name="dbos",
            lines=("A1", "A2", "A3", "B1", "B2", "C", "D", "E", "F", "G", "H"),
            ended="select count(*) from dbos.workflow_status where status = 'SUCCESS'",
            share=0.2,
        ),
        # Not A2 and A3: it has neither coroutines nor a call for many. Not C and F: a running
        # scheduler does not see what another process adds, and a job leaves the store when it
        # starts. Not B2: its documentation says that schedulers do not share a store.
        Product(
            name="aps3",
            lines=("A1", "B1", "D", "E", "H"),
            slots=(10, 100),
            share=0.1,
            hears_others=False,
        ),
        # Not A2 and A3 as above; not D: its broker is no database that counts statements.
        Product(
            name="celery",
            lines=("A1", "B1", "B2", "C", "E", "F", "H"),
            share=0.1,
            needs_redis=True,
        ),
        # Stands beside Duly on SQLite alone, its other stores keep less.
        Product(name="huey", lines=("I",), slots=(4,), share=0.2),
    )
}


def make_lock() -> None:
    """Resolve the peers anew into locks/bench.txt, with hashes and without any address."""
    subprocess.run(
        [
            *(str(Path(sys.executable).with_name("uv")), "pip", "compile", "-", "--quiet"),
            *("--universal", "--python-version", "3.11", "--generate-hashes"),
            *("--no-emit-index-url", "--no-emit-find-links", "--output-file", str(LOCK)),
            *("--custom-compile-command", "python -m bench --lock"),
        ],
        input="\n".join(PEERS_LOCKED),
        text=True,
        check=True,
    )


def install_peers() -> None:
    """Make the environment of peers and plot, unless it is there and as new as its lock."""
    stamp = HOME / ".stamp"
    if stamp.exists() and stamp.stat().st_mtime >= LOCK.stat().st_mtime:
        return
    print(f"installing the peers of {LOCK.relative_to(ROOT)} into {HOME.relative_to(ROOT)}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
    pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
    subprocess.run([*pip, "-r", str(LOCK)], check=True)
    stamp.touch()
