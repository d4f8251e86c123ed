"""Reads everything back at the end, by keys: the mailbox, the tables, the ledger.

The mails are the truth of what went out: their CSVs are parsed, fetched by their link where they
brought no file, and compared with the table of orders. A figure that is not as promised is named.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from email.message import EmailMessage

import aiohttp

from duly import Duly, EffectFilter, EffectState, RunState
from duly.core.runs import RunFilter
from examples.daily_orders.export import DANGEROUS
from examples.daily_orders.shop import Shop
from examples.daily_orders.story.load import Load
from examples.daily_orders.story.mailbox import (
    Mailbox,
    attachment_of,
    day_of,
    link_of,
    sha256_of,
)


@dataclass(frozen=True)
class Figure:
    """One measured number; `wanted` is what it must be, None where it only informs."""

    name: str
    value: int
    wanted: int | None = None

    @property
    def wrong(self) -> bool:
        """Whether a promise broke."""
        return self.wanted is not None and self.value != self.wanted

    def __str__(self) -> str:
        told = f"   expected {self.wanted}" if self.wrong else ""
        return f"  {self.name:<52}{self.value:>7}{told}"


async def fetch_csv(mail: EmailMessage, session: aiohttp.ClientSession) -> tuple[bytes, bool]:
    """Return a mail's CSV and whether it had to be fetched by the link."""
    attached = attachment_of(mail)
    if attached is not None:
        return attached, False
    async with session.get(link_of(mail)) as answer:
        answer.raise_for_status()
        return await answer.read(), True


async def judge_orders(
    mailbox: Mailbox, shop: Shop, load: Load, session: aiohttp.ClientSession
) -> list[Figure]:
    """Compare the orders in the table with those in the mails."""
    exported: Counter[str] = Counter()
    links = wrong_sums = formulas = 0
    for mail in mailbox.mails:
        content, linked = await fetch_csv(mail, session)
        links += linked
        wrong_sums += hashlib.sha256(content).hexdigest() != sha256_of(mail)
        for row in csv.DictReader(io.StringIO(content.decode(), newline="")):
            exported[row["reference"]] += 1
            formulas += row["customer"].startswith(DANGEROUS)
    kept = {str(one) for (one,) in await shop.database.rows("select reference from orders")}
    return [
        Figure("orders in the table", len(kept)),
        Figure("  acknowledged and not in the table", len(load.acknowledged - kept), 0),
        Figure("  stamped early, committed most of a day later", len(load.late & kept)),
        Figure("  POSTs sent again, none doubled", load.sent_again),
        Figure("orders in exactly one CSV", sum(n == 1 for n in exported.values()), len(kept)),
        Figure("  in no CSV", len(kept - exported.keys()), 0),
        Figure("  in two", sum(n > 1 for n in exported.values()), 0),
        Figure("CSVs that were fetched by the link", links),
        Figure("CSVs whose checksum is not the announced one", wrong_sums, 0),
        Figure("cells that a spreadsheet would run", formulas, 0),
    ]


async def judge_mails(app: Duly, mailbox: Mailbox, shop: Shop, *, injected: int) -> list[Figure]:
    """Compare the mails with the days, and the ledger with what was injected."""
    days = {str(day) for (day,) in await shop.database.rows("select day from closed_days")}
    mails = Counter(day_of(mail) for mail in mailbox.mails)
    incidents = await app.client.incidents(only_open=False)
    doubts = [one for one in incidents if one.kind == "effect.uncertain"]
    done = await app.client.effects(EffectFilter(state=EffectState.DONE, limit=1_000))
    runs = await app.client.runs(RunFilter(limit=1_000))
    told = {msg["Message-ID"] for msg in mailbox.mails}
    return [
        Figure("days closed", len(days)),
        Figure("days with one mail", sum(n == 1 for n in mails.values()), len(days)),
        Figure("days with two", sum(n > 1 for n in mails.values()), 0),
        Figure("different Message-IDs", len(told), len(mailbox.mails)),
        Figure("entries of the ledger that say done", len(done), len(days)),
        Figure("runs that asked for these days", len(runs)),
        Figure("runs that did not succeed", sum(r.state != RunState.SUCCEEDED for r in runs), 0),
        Figure("mails that were uncertain", len(doubts), injected),
        Figure("  of these still open", sum(one.closed_at is None for one in doubts), 0),
        Figure("incidents of any other kind", len(incidents) - len(doubts)),
    ]
