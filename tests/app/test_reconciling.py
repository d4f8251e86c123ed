"""Rows that nobody dealt with are told, once, and their incident closes when they are."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from duly import Duly
from duly.core.fleet import Incident
from duly.errors import InvalidValue, UnknownName


async def test_rows_that_are_missing_are_an_incident_until_they_are_not(tmp_path: Path) -> None:
    app = Duly(f"sqlite:///{tmp_path}/duly.db", name="shop")
    conn = apsw.Connection(str(tmp_path / "shop.db"))
    conn.execute("create table orders (id integer primary key)")
    conn.execute("create table mails (order_id integer primary key)")
    conn.execute("insert into orders values (1), (2), (3)")
    conn.execute("insert into mails values (2)")
    how = {"pk": "id", "seen": "mails", "seen_pk": "order_id"}
    await app.store.migrate()
    async with app:
        for _ in range(2):
            found = await app.reconcile(conn, "orders", **how)
            assert (found.missing, found.first) == (2, (1, 3))
        [told] = await app.client.incidents()
        assert (told.kind, told.subject, told.owner) == (
            "rows.missing", "orders not in mails", "shop",
        )  # fmt: skip
        assert told.summary == "2 rows of orders were not dealt with: 1, 3"
        conn.execute("insert into mails values (1), (3)")
        assert (await app.reconcile(conn, "orders", **how)).missing == 0
        assert await app.client.incidents() == []
    conn.close()


async def test_an_incident_of_ones_own_says_what_it_must(tmp_path: Path) -> None:
    app = Duly(f"sqlite:///{tmp_path}/duly.db")
    await app.store.migrate()
    async with app:
        tea = Incident(kind="stock.empty", subject="tea", severity="warning", summary="none left")
        assert [await app.client.open_incident(tea) for _ in range(2)] == [True, False]
        bad = Incident(kind="stock.empty", subject="tea", severity="wraning", summary="none left")
        with pytest.raises(UnknownName, match="did you mean 'warning'"):
            await app.client.open_incident(bad)
        with pytest.raises(InvalidValue, match="a kind, a subject and a summary"):
            await app.client.open_incident(
                Incident(kind="", subject="", severity="info", summary="")
            )
