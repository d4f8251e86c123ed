"""The composition root: declarations become tasks and schedules, settings become a store."""

from duly.app.duly import Duly
from duly.app.tasks import DeclaredTask

__all__ = ["DeclaredTask", "Duly"]
