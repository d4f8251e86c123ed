"""Presence by file locks: a lock on `<db>.wake/<boot>.lock` goes with its process.

The kernel drops a `flock` when the last descriptor of its file is closed, at the latest when the
process ends, however it ends. A watcher waits for the lock in a daemon thread, so it knows within
a millisecond, and polls nothing. A cancelled watch leaves its thread waiting: the next watch of
the same boot takes it up again, and a lock it gets for nobody is dropped at once.

The fall proves a death when holder and watcher run on one kernel in one PID namespace. Otherwise
(a container, another mount of the same disk) a living holder gets 250 ms to take its lock again.
A holder that releases writes so into the file first: its going proves nothing. Where the system
has no `flock`, there is no presence, and leases decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from duly.core.fleet import Proof
from duly.errors import StoreUnavailable
from duly.stores.base import DEFAULT_GRACE

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

STALE_S = 86_400
_RELEASED = b"released"


def supported() -> bool:
    """Whether this system has locks that fall with their process."""
    return fcntl is not None


def pid_space() -> str:
    """Return the identity of this kernel and PID namespace, or an empty text if unknown."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{kernel} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


class FilePresence:
    """`Presence` by locks in one directory. For one event loop."""

    def __init__(self, db: Path, *, grace: timedelta = DEFAULT_GRACE) -> None:
        self._grace_s = grace.total_seconds()
        self._folder = db.with_name(db.name + ".wake")
        self._boot: UUID | None = None
        self._held: list[int] = []
        self._watches: dict[UUID, _Watch] = {}

    def path(self, boot: UUID) -> Path:
        """Return where the lock of a boot is."""
        return self._folder / f"{boot}.lock"

    async def hold(self, boot: UUID) -> None:
        """Take the boot's lock; `StoreUnavailable` when another process has it."""
        self._boot = boot
        if not self._take():
            raise StoreUnavailable(f"the lock {self.path(boot)} cannot be taken")
        _sweep(self._folder, self.path(boot))

    async def holding(self) -> bool:
        """Whether the lock is held; a lock file that was removed is made again."""
        if self._boot is None:
            return False
        return self._is_mine() or self._take()

    async def watch(self, boot: UUID) -> Proof | None:
        """Wait until the boot's lock falls; None when it was released, or there is none."""
        while True:
            try:
                watch = self._watches.get(boot) or _Watch(self.path(boot))
            except OSError:
                return None  # it never held one here, or took it away: nothing can be said
            self._watches[boot] = watch
            said = await watch.wait()
            self._watches.pop(boot, None)
            if said == _RELEASED:
                return None
            if said and said.decode("utf-8", "replace") == pid_space():
                return Proof.PROCESS
            if not await self._took_again(boot):
                return Proof.SESSION

    async def release(self) -> None:
        """Give the lock back, saying so; end all watching."""
        boot, self._boot = self._boot, None
        held, self._held = self._held, []
        for handle in held:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
                os.pwrite(handle, _RELEASED, 0)
        if boot is not None:
            self.path(boot).unlink(missing_ok=True)
        for handle in held:
            os.close(handle)
        for watch in self._watches.values():
            watch.abandon()
        self._watches.clear()

    def _is_mine(self) -> bool:
        assert self._boot is not None, "asked only of a boot that holds"
        try:
            there = os.stat(self.path(self._boot))
        except OSError:
            return False
        return any(os.path.samestat(os.fstat(handle), there) for handle in self._held)

    def _take(self) -> bool:
        assert self._boot is not None, "asked only of a boot that holds"
        try:
            self._folder.mkdir(exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            handle = os.open(self.path(self._boot), flags, 0o666)
        except OSError as error:
            raise StoreUnavailable(f"no lock can be made in {self._folder}: {error}") from error
        if not _lock(handle, wait=False):
            os.close(handle)
            return False
        os.ftruncate(handle, 0)
        os.pwrite(handle, pid_space().encode(), 0)
        self._held.append(handle)
        return True

    async def _took_again(self, boot: UUID) -> bool:
        """Whether a living holder has its lock again after the grace."""
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(self._grace_s, done.set)
        await done.wait()
        try:
            handle = os.open(self.path(boot), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _lock(handle, wait=False)
        finally:
            os.close(handle)


class _Watch:
    """A thread that waits for one lock, for whoever waits for it at the moment."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._guard = threading.Lock()
        self._fell: list[bytes] = []  # what the file said, once the lock fell
        self._tell: Callable[[], None] | None = None
        self._abandoned = False
        threading.Thread(target=self._run, name="duly-watch", daemon=True).start()

    async def wait(self) -> bytes:
        """Return what the lock file said when its lock fell. Cancelling is safe."""
        loop, fell = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(fell.set)

        with self._guard:
            self._tell = tell
            if self._fell:
                return self._fell[0]
        try:
            await fell.wait()
        finally:
            self._tell = None
        return self._fell[0]

    def abandon(self) -> None:
        """Nobody will wait for this any more."""
        self._abandoned = True

    def _run(self) -> None:
        try:
            _lock(self._handle, wait=True)
            said = os.pread(self._handle, 256, 0)
        except OSError:
            said = _RELEASED  # nothing can be said: leases decide
        finally:
            os.close(self._handle)
        with self._guard:
            self._fell.append(said)
            tell = self._tell
        if tell is not None and not self._abandoned:
            tell()


def _lock(handle: int, *, wait: bool) -> bool:
    """Take the lock of an open file; False when another has it and `wait` is not set."""
    assert fcntl is not None, "presence is not offered where there are no locks"
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(folder: Path, mine: Path) -> None:
    """Remove lock files of boots that are long gone, by the file system's own clock."""
    with contextlib.suppress(OSError):
        newest = os.stat(mine).st_mtime
        for path in folder.glob("*.lock"):
            if os.stat(path).st_mtime > newest - STALE_S:
                continue
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            if _lock(handle, wait=False):
                path.unlink(missing_ok=True)
            os.close(handle)
