"""Notices through Apprise: any of the services that it knows, by its URLs (extra `apprise`).

An Apprise URL holds a password or a token, so it is a secret as a whole, looked up for each
notice. Apprise is synchronous: it works on a thread, under a deadline. A thread that did not
return in time is left behind, and nothing more is sent until it has returned: it may still send.

What Apprise connects to is its own affair: `calls.allow` does not bind it, and proxies of the
environment do. Its log lines, and those of the library it calls with, name URLs: while a notice is
on its way they are dropped, in the whole process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from duly.core.notice_text import subject_of, text_of
from duly.core.notices import Notice
from duly.outbound.base import DestinationRefused, DestinationUnavailable, missing_extra
from duly.outbound.channels.base import told_as_channel

try:
    import apprise
except ImportError:
    raise missing_extra("apprise", "apprise") from None

if TYPE_CHECKING:
    from asyncio import Future

DEADLINE_S = 25.0
TALKATIVE = ("apprise", "urllib3.connectionpool", "urllib3.util.retry")
"""Loggers whose lines show URLs."""


class _Hush(logging.Filter):
    """Drops lines while one of the threads that it knows is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[threading.Thread] = set()  # replaced, never changed

    def filter(self, record: logging.LogRecord) -> bool:
        return not any(one.is_alive() for one in self.threads)


_HUSH = _Hush()


class Apprise:
    """A channel of one or more Apprise URLs; a notice is told when all of them took it."""

    def __init__(
        self, name: str, *, urls: Callable[[], Sequence[str]], deadline_s: float = DEADLINE_S
    ) -> None:
        self.name = name
        self._urls, self._deadline_s = urls, deadline_s
        self._at_work = False  # a thread that has returned may still be alive for a moment
        for one in TALKATIVE:
            logging.getLogger(one).addFilter(_HUSH)

    def __repr__(self) -> str:
        return f"<Apprise {self.name}>"

    async def send(self, notice: Notice) -> None:
        """Hand the notice to every URL; raises if one of them did not take it."""
        if self._at_work:
            raise DestinationUnavailable(f"{self.name}: the last notice is still on its way")
        with told_as_channel(self.name):
            urls = self._urls()
        title, body = subject_of(notice), text_of(notice)

        def tell() -> bool:
            services = self._services(urls)  # the first time it imports all of Apprise's plug-ins
            how = apprise.NotifyFormat.TEXT
            return bool(
                services.notify(body=body, title=title, body_format=how, interpret_escapes=False)
            )

        try:
            async with asyncio.timeout(self._deadline_s):
                taken = await self._threaded(tell)
        except TimeoutError:
            told = f"{self.name}: Apprise took more than {self._deadline_s:g} s"
            raise DestinationUnavailable(told) from None
        if not taken:
            raise DestinationUnavailable(f"{self.name}: Apprise could not tell every service")

    def _services(self, urls: Sequence[str]) -> apprise.Apprise:
        services = apprise.Apprise()
        for number, url in enumerate(urls, 1):
            if not services.add(url.strip()):
                raise DestinationRefused(
                    f"{self.name}: expected the secret of URL {number} to be one Apprise knows"
                )
        return services

    async def _threaded(self, work: Callable[[], bool]) -> bool:
        """Run work on a thread of its own, which never keeps the process from ending."""
        loop = asyncio.get_running_loop()
        done: Future[bool] = loop.create_future()

        def settle(taken: bool, error: BaseException | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(taken)
            elif isinstance(error, DestinationUnavailable):
                done.set_exception(error)
            else:  # its text may hold the URL
                told = f"{self.name}: Apprise failed with {type(error).__name__}"
                done.set_exception(DestinationUnavailable(told))

        def run() -> None:
            taken, failed = False, None
            try:
                taken = work()
            except BaseException as error:
                failed = error
            self._at_work = False
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(settle, taken, failed)

        thread = threading.Thread(target=run, name=f"duly-{self.name}", daemon=True)
        _HUSH.threads = {*(one for one in _HUSH.threads if one.is_alive()), thread}
        self._at_work = True
        thread.start()
        return await done
