"""The products that are measured, and the environment that peers live in.

Peers are installed into build/bench-peers from locks/bench.txt, every file by its hash, and never
into the project's own environment. To add a product: write `adapters/of_<name>.py` with a class
`Adapter` (`adapters/system.py` says what it does), add a line to PRODUCTS and its distribution to
PEERS_LOCKED, and make the lock anew with `python -m bench --lock`.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "locks" / "bench.txt"
HOME = ROOT / "build" / "bench-peers"

PEERS_LOCKED = ("asyncpg", "pgqueuer", "uvloop")


@dataclass(frozen=True)
class Product:
    """`ended` counts the jobs that ended well; `slots` are the settings tried, 0 the default."""

    name: str
    ended: str
    slots: tuple[int, ...]
    is_peer: bool = True

    @property
    def python(self) -> str:
        """The interpreter it runs under."""
        return str(HOME / "bin" / "python") if self.is_peer else sys.executable

    @property
    def module(self) -> str:
        """The adapter that drives it."""
        return f"of_{self.name}"


DULY = Product(
    "duly",
    "select count(*) from duly_ended where state = 'succeeded'",
    slots=(0, 500, 2000),
    is_peer=False,
)
PRODUCTS = {
    one.name: one
    for one in (
        DULY,
        Product(
            "pgqueuer",
            "select count(*) from pgqueuer_log where status = 'successful'",
            slots=(50, 100, 250),
        ),
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
    """Make the peers' environment, unless it is there and as new as its lock."""
    stamp = HOME / ".stamp"
    if stamp.exists() and stamp.stat().st_mtime >= LOCK.stat().st_mtime:
        return
    print(f"installing the peers of {LOCK.relative_to(ROOT)} into {HOME.relative_to(ROOT)}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
    pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
    subprocess.run([*pip, "-r", str(LOCK)], check=True)
    stamp.touch()
