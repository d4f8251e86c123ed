"""The store on one SQLite file: the default, for one machine."""

from duly.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
