"""The verbs of programs and people: ask for work, wait for it, stop it, look at it.

A client knows a store and the tasks of its process; it never runs anything. Names that are
not known are errors with the nearest one that is. What a person changes carries who and why.
Each subject has a module: runs, schedules, timers, targets (effects, breakers, messages), fleet.
"""

from duly.client.client import Client
from duly.client.runs import Options, RunHandle
from duly.client.schedules import Backfill
from duly.client.timers import Applied, Saved

__all__ = ["Applied", "Backfill", "Client", "Options", "RunHandle", "Saved"]
