"""The web service of the story: it answers at once, and does the work in the same process.

    python -m examples.morning_batch.api --port 8000
    curl -X POST http://127.0.0.1:8000/batches/2026-11-22

Any number of these may run; each is an instance of the fleet. Their host may recycle them when
it likes: a SIGTERM hands the run on with everything that was done, a `kill -9` loses nothing
that was committed.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from uuid import UUID

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from duly import Refused, StoreUnavailable, UnknownName
from examples.morning_batch.batch import app as duly
from examples.morning_batch.batch import ask_for


@asynccontextmanager
async def working(_: FastAPI) -> AsyncIterator[None]:
    """Be an instance as long as the web service lives."""
    async with duly:
        instance = asyncio.create_task(duly.work())
        instance.add_done_callback(end_process)
        yield
        instance.remove_done_callback(end_process)
        instance.cancel()
        await asyncio.wait([instance])


def end_process(_: object) -> None:
    """The instance gave up by itself: end here, so that whoever watches processes starts anew."""
    signal.raise_signal(signal.SIGTERM)


web = FastAPI(title="Morning batch", lifespan=working)


@web.post("/batches/{day}", status_code=202)
async def start_batch(day: date, edition: int = 1) -> dict[str, str]:
    """Ask for a day's batch. The answer means that it will be done, whatever dies."""
    run = await ask_for(day, edition)
    return {"run": str(run.id), "reuse": run.reuse.value}


@web.get("/runs/{run}")
async def look(run: UUID) -> dict[str, object]:
    """Say how far a batch is."""
    try:
        view = await duly.client.run(run)
    except UnknownName as error:
        raise HTTPException(404, str(error)) from error
    published = view.progress.published if view.progress else 0
    return {"state": view.state.value, "attempt": view.epoch, "published": published}


@web.exception_handler(Refused)
async def say_no(_: Request, error: Exception) -> JSONResponse:
    """The day's run waits for a person; the text says why."""
    return JSONResponse({"detail": str(error)}, status_code=409)


@web.exception_handler(StoreUnavailable)
async def say_later(_: Request, error: Exception) -> JSONResponse:
    """Nothing was accepted: ask again."""
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "5"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    duly.log(sys.stderr)
    uvicorn.run(web, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
