"""The command line: `duly dev`, `worker`, `run`, `why`, and what people look at and change."""

from duly.cli.command import main

__all__ = ["main"]
