"""The model store: plain dictionaries that every other store must agree with."""

from duly.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
