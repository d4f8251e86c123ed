"""Cron: what the five fields mean, and when they are due on the clocks of a zone.

`parse` reads the text, `Search` finds occurrences; `duly.core.triggers.Cron` is the face that
schedules use. Everything is computed: a search costs microseconds, never depends on how far
away the next occurrence is by more than a few steps, and reads no clock.
"""

from duly.core.cron.search import Search, search_for
from duly.core.cron.text import Expression, Seconds, parse
from duly.core.cron.turns import Fold, Gap, Turns

__all__ = ["Expression", "Fold", "Gap", "Search", "Seconds", "Turns", "parse", "search_for"]
