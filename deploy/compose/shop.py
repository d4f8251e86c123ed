"""What the worker of compose.yaml runs: put your own application in its place."""

from __future__ import annotations

from duly import Duly, RestartPolicy

app = Duly(name="shop")


@app.task(cron="*/5 * * * *")
async def tidy() -> None:
    """Something that is due every five minutes."""


@app.supervise(policy=RestartPolicy(deadline="1m"), every="10s")
async def watch_orders() -> None:
    """A loop of your own: one turn every ten seconds, none longer than a minute."""
