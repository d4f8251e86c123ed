"""The whole story in one command: `python -m examples.daily_orders.run`.

Starts a mail server and three instances, lets people order, and does what nights do: kills
the sender, takes the mail server away, loses an answer, cuts the power. A day takes a few seconds,
everything else is real. Ends all it started, prints the figures, and exits with 1 when one breaks
a promise. `--store postgresql://…` runs on an empty database of yours, `--rows 1000000` measures
an export instead.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import aiohttp

from duly import EffectFilter, EffectState, RunState
from duly.core.runs import RunFilter
from duly.core.states import ENDS
from examples.daily_orders.story.instances import HOST, ROOT, Instances
from examples.daily_orders.story.load import Load
from examples.daily_orders.story.mailbox import Mailbox

if TYPE_CHECKING:
    from duly import Duly
    from duly.core.effects import Effect
    from examples.daily_orders.shop import Shop
    from examples.daily_orders.story.judge import Figure

T = TypeVar("T")

INSTANCES = 3
PATIENCE_S = 60.0
ANSWER_WITHIN = aiohttp.ClientTimeout(total=5)
LATE_SHARE = 0.7
"""How much of a day an order's commit comes after its stamp."""


class Story:
    """One night after the other. Every chapter waits for what it announces, at most a minute."""

    def __init__(self, app: Duly, shop: Shop, mailbox: Mailbox, instances: Instances) -> None:
        self.app, self.shop = app, shop
        self.mailbox, self.instances = mailbox, instances
        self.injected = 0

    async def quiet_days(self, count: int) -> None:
        """Let days pass, each with its mail."""
        have = len(self.mailbox.mails)
        await until(lambda: len(self.mailbox.mails) >= have + count, f"{count} mails")
        say("a day went by, with its mail" if count == 1 else f"{count} days went by, a mail each")

    async def killed_before_the_mail(self) -> None:
        """Kill the sender after it closed the day and wrote the file, before any mail."""
        await self._nothing_in_flight()
        pid = await self.mailbox.hold("EHLO")
        say(f"killed {self.instances.kill(pid)} with -9, when its file was written")
        self.instances.start()
        await self.quiet_days(1)

    async def killed_while_sending(self) -> None:
        """Kill the sender in the middle of the SMTP dialogue: nobody can know what was sent."""
        await self._nothing_in_flight()
        pid = await self.mailbox.hold("MAIL")
        say(f"killed {self.instances.kill(pid)} with -9, in the middle of its mail")
        self.instances.start()
        await self._settle(performed=False, reason="the mail server's log has no such mail")

    async def lost_answer(self) -> None:
        """Take a mail and never say so: the sender must not guess."""
        self.mailbox.lose_next_answer()
        await until(lambda: self.mailbox.lost_answers > 0, "a lost answer")
        say("the mail server took a mail, and its answer was lost")
        await self._settle(performed=True, reason="the department has the mail")

    async def mail_server_away(self, seconds: float) -> None:
        """Take the mail server away over the hour of the mail."""
        await self.mailbox.close()
        closed = len(await self.shop.database.rows("select day from closed_days"))
        await asyncio.sleep(seconds)
        days = await self.shop.database.rows("select day from closed_days")
        await self.mailbox.open()
        waited = len(days) - closed
        say(f"the mail server was away for {seconds:.0f} s; {waited} days waited for it")
        await until(lambda: all(self.mailbox.of_day(day) for (day,) in days), "all their mails")

    async def everybody_asks(self, session: aiohttp.ClientSession, secret: str) -> None:
        """The platform's cron asks every instance, and a person asks the command line."""
        head = {"Authorization": f"Bearer {secret}"}
        for port in self.instances.ports:
            async with session.post(f"http://{HOST}:{port}/exports", headers=head) as answer:
                assert answer.status == 202, f"asking was answered with {answer.status}"
        await self._duly("schedules", "trigger", "mail_orders", "--by", "someone")
        say("the platform's cron asked three times, a person once")

    async def power_cut(self, seconds: float) -> None:
        """Kill the whole fleet, and start it again days later."""
        await self._nothing_in_flight()
        self.instances.kill_all()
        await asyncio.sleep(seconds)
        self.instances.start()
        say(f"killed all instances with -9; they were away for {seconds:.0f} s")
        await self.quiet_days(1)

    async def close_the_last_day(self) -> None:
        """Let one more day take what came last, then stop the clock and let all runs end."""
        await self.quiet_days(2)
        for name in ("mail_orders", "mail_orders_again"):
            await self.app.client.pause(name, by="the story", reason="it is over")
        await asks(self._all_ended, "the end of all runs")

    async def show_what_stands(self) -> None:
        """Print what has not ended and why, for whoever looks into a chapter that went wrong."""
        for one in await self.app.client.runs(RunFilter(limit=50)):
            if one.state not in ENDS or one.error:
                print(one.schedule, one.due, one.state, one.reason, one.error, file=sys.stderr)
        for seen in await self.app.client.instances():
            print(seen.name, seen.state, seen.held, seen.reason, file=sys.stderr)

    async def _all_ended(self) -> bool:
        counts = await self.app.client.counts()
        return not any(count for state, count in counts.items() if RunState(state) not in ENDS)

    async def _nothing_in_flight(self) -> None:
        """Wait until every mail that was begun has its entry: a kill must hit what it aims at."""
        await asks(self._ledger_rests, "the ledger to rest")

    async def _ledger_rests(self) -> bool:
        intended = EffectFilter(state=EffectState.INTENDED)
        return not await self.app.client.effects(intended)

    async def _settle(self, *, performed: bool, reason: str) -> None:
        """Wait for the incident, see the next day go on beside it, then say what is known."""
        self.injected += 1
        [doubt] = await asks(self._doubts, "a mail to be uncertain")
        say(f"uncertain: {doubt.address}; its day is parked")
        await self.quiet_days(1)
        word = "--performed" if performed else "--not-performed"
        address = str(doubt.address).split(" ")
        await self._duly(
            "effects", "resolve", *address, word, "--reason", reason, "--by", "someone"
        )
        say(f"someone settled it as {'performed' if performed else 'not performed'}: {reason}")
        day = doubt.address.key.rpartition(" ")[2]
        await until(lambda: self.mailbox.of_day(day), f"the mail of {day}")

    async def _doubts(self) -> list[Effect]:
        return await self.app.client.effects(EffectFilter(state=EffectState.UNCERTAIN))

    async def _duly(self, *words: str) -> None:
        """Run the command line as a person would."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "duly.cli", *words,
            "--app", "examples.daily_orders.orders", cwd=ROOT, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        assert await process.wait() == 0, f"duly {' '.join(words)} failed"


async def until(done: Callable[[], object], what: str) -> None:
    """Wait for a condition, a minute at most."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < PATIENCE_S, f"waited in vain for {what}"
        await asyncio.sleep(0.02)


async def asks(question: Callable[[], Awaitable[T]], what: str) -> T:
    """Ask until the answer is something; a minute at most."""
    began = time.monotonic()
    while not (answer := await question()):
        assert time.monotonic() - began < PATIENCE_S, f"waited in vain for {what}"
        await asyncio.sleep(0.05)
    return answer


def say(text: str) -> None:
    """Tell what happens, as it happens."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


async def tell(folder: Path, database: str | None, day_s: int, *, short: bool) -> int:
    """Set the scene, tell the story, judge it; returns the exit code."""
    env = {
        "DULY_STORE": database or f"sqlite:///{folder}/duly.db",
        "ORDERS_DB": database or f"{folder}/shop.db",
        "ORDERS_SECRET": secrets.token_hex(16),
        "ORDERS_SMTP_HOST": HOST,
        "ORDERS_SMTP_TLS": "none",
        "ORDERS_ATTACH_BYTES": "7000",
        "STORY_DAY_S": str(day_s),
        "DULY_STOP_GRACE": "5s",
    }
    instances = Instances(INSTANCES, folder)
    mailbox = Mailbox(instances.client_of)
    await mailbox.open()
    env["ORDERS_SMTP_PORT"] = str(mailbox.port)
    env["ORDERS_LINK_BASE"] = f"http://{HOST}:{instances.ports[0]}"
    os.environ.update(env)
    try:
        return await _told(instances, mailbox, day_s, short=short)
    except BaseException:
        print(instances.logs(), file=sys.stderr)
        raise
    finally:
        instances.kill_all()
        await mailbox.close()


async def _told(instances: Instances, mailbox: Mailbox, day_s: int, *, short: bool) -> int:
    # The application reads the environment when it is imported, as an instance does.
    from examples.daily_orders.orders import app, settings
    from examples.daily_orders.prepare import prepare
    from examples.daily_orders.shop import open_shop
    from examples.daily_orders.story.judge import Figure, judge_mails, judge_orders

    await prepare()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=ANSWER_WITHIN))
        shop = await stack.enter_async_context(open_shop())
        await stack.enter_async_context(app)
        instances.start()
        await instances.serving(session)
        say(f"{INSTANCES} instances on {app.store.name}, a day is {day_s} s")
        load = Load(instances.ports, session, settings.database)
        story = Story(app, shop, mailbox, instances)
        async with ordering(load, shop, day_s * LATE_SHARE):
            await _chapters(story, session, settings.secret, day_s, short=short)
        await instances.serving(session)
        await story.close_the_last_day()
        figures = await judge_orders(mailbox, shop, load, session)
        figures += await judge_mails(app, mailbox, shop, injected=story.injected)
        killed, failed = instances.kills, instances.stop()
    figures += [
        Figure("kills -9", killed),
        Figure("instances that did not stop well", failed, 0),
    ]
    return verdict(figures)


@asynccontextmanager
async def ordering(load: Load, shop: Shop, late_s: float) -> AsyncIterator[None]:
    """Let people order all the while; afterwards every order of theirs is acknowledged."""
    people = [load.post_orders(), load.commit_late(shop, late_s)]
    tasks = [asyncio.create_task(one) for one in people]
    try:
        yield
    finally:
        load.stop()
    await asyncio.gather(*tasks)


def verdict(figures: list[Figure]) -> int:
    """Print the figures; 1 if a promise broke."""
    print("", *figures, "", sep="\n")
    wrong = [one.name.strip() for one in figures if one.wrong]
    say("as promised" if not wrong else "NOT as promised: " + "; ".join(wrong))
    return int(bool(wrong))


async def _chapters(
    story: Story, session: aiohttp.ClientSession, secret: str, day_s: int, *, short: bool
) -> None:
    try:
        await _short_chapters(story, session, secret)
        if not short:
            await _long_chapters(story, day_s)
    except AssertionError:
        await story.show_what_stands()
        raise


async def _short_chapters(story: Story, session: aiohttp.ClientSession, secret: str) -> None:
    await story.quiet_days(1)
    await story.killed_before_the_mail()
    await story.lost_answer()
    await story.everybody_asks(session, secret)


async def _long_chapters(story: Story, day_s: int) -> None:
    await story.mail_server_away(day_s * 1.5)
    await story.killed_while_sending()
    await story.power_cut(day_s * 2.5)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="examples.daily_orders.run")
    parser.add_argument("--store", help="postgresql://… of an empty database; default: SQLite")
    parser.add_argument("--day", type=int, default=4, help="seconds of a day (default 4)")
    parser.add_argument("--short", action="store_true", help="the first chapters only")
    parser.add_argument("--rows", type=int, help="measure the export of so many orders instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daily-orders-") as place:
        if given.rows:
            from examples.daily_orders.measure import measure

            return asyncio.run(measure(Path(place), given.store, given.rows))
        return asyncio.run(tell(Path(place), given.store, given.day, short=given.short))


if __name__ == "__main__":
    sys.exit(main())
