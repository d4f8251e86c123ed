"""Waking between processes on one file: a datagram socket per process, beside the database.

After a commit its signals go to every other socket in `<db>.wake/`: the first at once, further
ones of the same kind at most every 2 ms. Hints may be lost (a full buffer, a process that just
went); whoever listens also polls, slowly. A socket that nobody reads any more is removed by the
next who sends to it. Nothing that arrives is believed: a hint only makes its reader look.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import random
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from duly.stores.base import Signal, WakeUp

PAUSE_S = 0.002
"""The least time between two hints of the same kind to other processes."""

LONGEST_ADDRESS = 100
"""Bytes that a socket's address may have on every system (Linux takes 107, macOS 103)."""

_Heard = Callable[[WakeUp], None]


class Waker:
    """Tells listeners in this process, and the wakers of others. For one event loop."""

    def __init__(self, db: Path) -> None:
        self._folder = Folder(db.with_name(db.name + ".wake"))
        self._listeners: list[_Heard] = []
        self._socket: socket.socket | None = None
        self._name = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cooling: set[WakeUp] = set()
        self._waiting: dict[WakeUp, None] = {}

    def open(self) -> None:
        """Begin to hear other processes. Where no socket can be had, polling has to do."""
        self._loop = asyncio.get_running_loop()
        if self._socket is not None:
            return
        with contextlib.suppress(OSError, NotImplementedError):
            mine = _socket()
            self._name = f"{os.getpid()}-{random.Random().getrandbits(48):012x}.sock"
            mine.bind(self._folder.address(self._name))
            self._loop.add_reader(mine.fileno(), self._receive)
            self._socket = mine

    def close(self) -> None:
        """Go quiet, and remove the socket."""
        mine, self._socket = self._socket, None
        if mine is not None and self._loop is not None:
            self._loop.remove_reader(mine.fileno())
            mine.close()
            self._folder.remove(self._name)
        self._folder.close()
        self._loop = None

    def listen(self, heard: _Heard) -> Callable[[], None]:
        """Add a listener; return what removes it."""
        self._listeners.append(heard)

        def stop() -> None:
            if heard in self._listeners:
                self._listeners.remove(heard)

        return stop

    def tell(self, told: Iterable[WakeUp]) -> None:
        """Wake listeners here at once, and the other processes. On the event loop."""
        signals = dict.fromkeys(told)
        self._hear(signals)
        self._send([one for one in signals if one not in self._cooling])
        self._waiting |= {one: None for one in signals if one in self._cooling}

    def tell_from_thread(self, told: Iterable[WakeUp]) -> None:
        """As `tell`, from another thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                self._loop.call_soon_threadsafe(self.tell, list(told))

    def _hear(self, signals: Iterable[WakeUp]) -> None:
        for one in signals:
            for heard in list(self._listeners):
                heard(one)

    def _send(self, signals: list[WakeUp]) -> None:
        if not signals or self._socket is None or self._loop is None:
            return
        others = self._folder.others(self._name)
        if not others:
            return
        text = "\n".join(f"{one.signal} {one.detail}" for one in signals).encode()
        for name in others:
            self._send_to(name, text[:4096])
        self._cooling.update(signals)
        self._loop.call_later(PAUSE_S, self._cooled, signals)

    def _cooled(self, signals: list[WakeUp]) -> None:
        self._cooling.difference_update(signals)
        again = [one for one in signals if self._waiting.pop(one, self) is None]
        self._send(again)

    def _send_to(self, name: str, text: bytes) -> None:
        assert self._socket is not None, "sending comes after opening"
        try:
            self._socket.sendto(text, self._folder.address(name))
        except OSError as error:
            # Its buffer may be full: then it will look anyway. Refused: its process is gone.
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                self._folder.remove(name)

    def _receive(self) -> None:
        got: dict[WakeUp, None] = {}
        with contextlib.suppress(OSError):
            while self._socket is not None and len(got) < 256:
                got |= parse(self._socket.recv(8192))
        self._hear(got)


def parse(message: bytes) -> dict[WakeUp, None]:
    """Return the signals in a datagram; what is none of ours is left out."""
    found: dict[WakeUp, None] = {}
    for line in message.decode("ascii", "replace").splitlines():
        signal, _, detail = line.partition(" ")
        if signal in Signal._value2member_map_ and len(detail) <= 64:
            found[WakeUp(Signal(signal), detail)] = None
    return found


def _socket() -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise NotImplementedError("no datagram sockets with names on this system")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


class Folder:
    """The directory of the sockets, listed again only when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._listed: tuple[int, tuple[str, ...]] = (0, ())

    def address(self, name: str) -> str:
        """Return an address for a socket here, short enough for the system."""
        direct = os.path.join(self._path, name)
        if len(os.fsencode(direct)) <= LONGEST_ADDRESS and self._handle is None:
            self._path.mkdir(exist_ok=True)
            return direct
        if not sys.platform.startswith("linux"):
            self._path = short_folder(self._path)
            self._path.mkdir(mode=0o700, exist_ok=True)
            return os.path.join(self._path, name)
        if self._handle is None:
            self._path.mkdir(exist_ok=True)
            self._handle = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._handle}/{name}"

    def others(self, mine: str) -> tuple[str, ...]:
        """Return the names of all sockets here but one."""
        try:
            changed = os.stat(self._path).st_mtime_ns
            if changed != self._listed[0]:
                names = os.listdir(self._path)
                kept = tuple(one for one in names if one.endswith(".sock") and one != mine)
                self._listed = (changed, kept)
        except OSError:
            return ()
        return self._listed[1]

    def remove(self, name: str) -> None:
        """Remove a socket's name; its absence is no error."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._path, name))

    def close(self) -> None:
        """Give the handle back."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def short_folder(path: Path) -> Path:
    """Return a directory with a short name that stands for `path`, the same in all processes."""
    digest = hashlib.blake2b(os.fsencode(os.path.realpath(path)), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"duly-{os.getuid()}-{digest}"
