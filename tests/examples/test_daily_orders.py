"""The example of the daily orders keeps what it shows: its parts by tables, its story in processes.

The story is the one that `run.py` tells, in its short form: real instances, a real mail server,
real kills. What it prints as figures, it judges itself; its exit code is the verdict here. The days
that the README describes are tried with the real clock as well.
"""

from __future__ import annotations

import asyncio
import csv
import io
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from duly import Duly
from duly.core.triggers import Cron
from examples.daily_orders import count, days
from examples.daily_orders.database import open_database
from examples.daily_orders.export import csv_pieces, safe, write_csv
from examples.daily_orders.links import allowed, signature
from examples.daily_orders.shop import Order, Shop
from examples.daily_orders.story.instances import HOST, ROOT, Instances
from examples.daily_orders.story.mailbox import Mailbox, attachment_of, day_of, link_of
from tests.servers import start_postgres

SECRET = "a secret of sixteen and more"
STAMP = "2026-11-22T00:59:59+01:00"


# --- cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+31 20 555", "'+31 20 555"),
        ("-2", "'-2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("＝1", "'＝1"),  # noqa: RUF001 - full width, as some keyboards type it
        ("Jansen", "Jansen"),
        ("a=b", "a=b"),
        ("", ""),
        (-500, -500),
    ],
)
def test_no_cell_of_text_begins_like_a_formula(typed: object, shown: object) -> None:
    assert safe(typed) == shown


async def rows(*cells: str) -> AsyncIterator[dict[str, str]]:
    for cell in cells:
        yield {"a": cell}


async def test_a_cell_cannot_break_out_of_its_quotes(tmp_path: Path) -> None:
    typed = ['x","=1', 'x"\r\n=1']
    written = await write_csv(rows(*typed), ["a"], tmp_path / "a.csv")
    read = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_bytes().decode(), newline="")))
    assert read == [["a"], *([cell] for cell in typed)]
    assert written.orders == 2


async def test_a_file_comes_in_pieces_of_a_thousand_rows() -> None:
    counts = [count async for count, _ in csv_pieces(rows(*["x"] * 2_500), ["a"])]
    assert counts == [0, 1_000, 1_000, 500]


def test_a_link_opens_its_own_day_only() -> None:
    proof = signature(SECRET, "2026-11-22")
    assert allowed(SECRET, "2026-11-22", proof)
    assert not allowed(SECRET, "2026-11-23", proof)
    assert not allowed("another secret, as long", "2026-11-22", proof)
    assert not allowed(SECRET, "2026-11-22", "é")


def test_both_schedules_of_a_date_name_the_same_day() -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    one, two = (
        trigger.local(due)
        for trigger in (Cron("0 1 * * *", tz=days.ZONE), Cron("0 2 * * *", tz=days.ZONE))
        if (due := trigger.previous_at_or_before(noon))
    )
    assert days.at_one() == {"cron": "0 1 * * *", "tz": days.ZONE}
    assert days.at_two() == {"cron": "0 2 * * *", "tz": days.ZONE}
    assert days.name_of(one) == days.name_of(two) == "2026-11-22"
    assert days.part_of(one) is None


# --- days -----------------------------------------------------------------------------------


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    database = await open_database(str(tmp_path / "shop.db"))
    shop = Shop(database)
    await shop.make_tables()
    await shop.enrol()
    yield shop
    await database.close()


async def placed(shop: Shop, *references: str) -> None:
    for one in references:
        await shop.place(Order(one, "Jansen", "a chair", 4950), STAMP)


async def references(shop: Shop, day: str) -> list[str]:
    closed = await shop.closed_day(day)
    assert closed is not None, "it was closed"
    return [order["reference"] async for order in shop.orders_of(closed)]


async def test_an_order_that_comes_after_the_closing_is_in_the_next_day(shop: Shop) -> None:
    await placed(shop, "a", "b")
    await shop.close_day("22")
    await placed(shop, "stamped before, committed after")
    assert await shop.close_day("22") == await shop.closed_day("22")
    await shop.close_day("23")
    assert await references(shop, "22") == ["a", "b"]
    assert await references(shop, "23") == ["stamped before, committed after"]


async def test_an_order_that_is_posted_twice_is_one(shop: Shop) -> None:
    await placed(shop, "a", "a")
    await shop.close_day("22")
    assert await references(shop, "22") == ["a"]


async def test_days_that_are_closed_at_once_neither_overlap_nor_leave_a_gap(shop: Shop) -> None:
    names = [str(n % 5) for n in range(20)]
    orders = [str(n) for n in range(40)]
    await asyncio.gather(*(shop.close_day(name) for name in names), placed(shop, *orders))
    await shop.close_day("last")
    in_days = [one for name in {*names, "last"} for one in await references(shop, name)]
    assert sorted(in_days) == sorted(orders)


@pytest.fixture
def url() -> Iterator[str]:
    server = start_postgres()
    yield server.empty_database()
    server.stop()


@pytest.mark.slow
@pytest.mark.server
async def test_an_order_whose_transaction_is_open_at_the_closing_is_in_the_next_day(
    url: str,
) -> None:
    database = await open_database(url)
    shop, late = Shop(database), await asyncpg.connect(url)
    await shop.make_tables()
    await shop.enrol()
    await placed(shop, "a")
    transaction = late.transaction()
    await transaction.start()
    await late.execute(
        "insert into orders (reference, customer, article, cents, placed_at)"
        " values ('late', 'Jansen', 'a chair', 4950, $1)",
        STAMP,
    )
    await shop.close_day("22")
    await transaction.commit()
    await shop.close_day("23")
    assert await references(shop, "22") == ["a"]
    assert await references(shop, "23") == ["late"]
    await late.close()
    await database.close()


# --- pages ----------------------------------------------------------------------------------


def test_the_table_in_the_answers_is_what_is_counted() -> None:
    assert count.written() == count.table()


# --- processes ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_order_is_in_one_csv_and_every_day_in_one_mail_whatever_dies() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "examples.daily_orders.run", "--short", "--day", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "as promised" in told.stdout


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox(lambda port: 0)
    await box.open()
    yield box
    await box.close()


@pytest.fixture
async def instance(
    mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Instances]:
    """One instance as the README starts it, with real days."""
    fleet = Instances(1, tmp_path)
    for name, value in {
        "DULY_STORE": f"sqlite:///{tmp_path}/duly.db",
        "ORDERS_DB": f"{tmp_path}/shop.db",
        "ORDERS_SECRET": SECRET,
        "ORDERS_SMTP_HOST": HOST,
        "ORDERS_SMTP_PORT": str(mailbox.port),
        "ORDERS_SMTP_TLS": "none",
        "ORDERS_LINK_BASE": f"http://{HOST}:{fleet.ports[0]}",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("STORY_DAY_S", raising=False)
    preparing = [sys.executable, "-m", "examples.daily_orders.prepare"]
    process = await asyncio.create_subprocess_exec(*preparing, cwd=ROOT)
    assert await process.wait() == 0
    fleet.start()
    yield fleet
    await asyncio.to_thread(fleet.stop)


def newest_day() -> str:
    """The day that was due last, by the real schedule."""
    one = Cron("0 1 * * *", tz=days.ZONE)
    due = one.previous_at_or_before(datetime.now(UTC))
    assert due is not None, "it is due every day"
    return one.local(due).date().isoformat()


@pytest.mark.slow
async def test_a_real_day_is_mailed_once_and_fetched_by_its_link(
    instance: Instances, mailbox: Mailbox, tmp_path: Path
) -> None:
    base = f"http://{HOST}:{instance.ports[0]}"
    bearer = {"Authorization": f"Bearer {SECRET}"}
    async with aiohttp.ClientSession() as session, Duly(f"sqlite:///{tmp_path}/duly.db") as app:
        await instance.serving(session)
        for name in ("Jansen", "=Bakker"):
            body = {"reference": name, "customer": name, "article": "a chair", "cents": -1}
            async with session.post(f"{base}/orders", json=body) as answer:
                assert answer.status == 201
        async with session.post(f"{base}/exports") as answer:
            assert answer.status == 401
        for _ in range(2):
            async with session.post(f"{base}/exports", headers=bearer) as answer:
                run = UUID((await answer.json())["run"])
            assert await app.client.result(run, timeout=30) == 2
        [mail] = mailbox.mails
        attached = attachment_of(mail) or b""
        assert day_of(mail) == newest_day()
        assert b'"Jansen"' in attached and b'"\'=Bakker"' in attached
        async with session.get(link_of(mail)) as answer:
            assert await answer.read() == attached
        async with session.get(f"{link_of(mail)}&customer=Jansen") as answer:
            assert (await answer.text()).count("\n") == 2
        async with session.get(f"{base}/days/{day_of(mail)}/orders.csv?sig=guessed") as answer:
            assert answer.status == 404
