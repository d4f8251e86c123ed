"""From settings to concrete things: the one place that knows every store by name.

A driver is imported only when its store is asked for, so that a process pays for what it uses.
"""

from __future__ import annotations

from duly.config import Settings, StoreKind
from duly.core.clock import Clock
from duly.engine import HostProcesses, Ports, ThreadKeeper
from duly.errors import ConfigError
from duly.stores.base import Store


def make_store(settings: Settings, clock: Clock) -> Store:
    """Return the store that the settings name, not yet opened."""
    parsed = settings.store.parsed
    if parsed.kind is StoreKind.SQLITE:
        from duly.stores.sqlite import SqliteStore

        assert parsed.path is not None, "a sqlite:// URL has a path"
        return SqliteStore(
            parsed.path, clock=clock.now, allow_network_fs=settings.store.allow_network_fs
        )
    if parsed.kind is StoreKind.POSTGRES:
        try:
            from duly.stores.postgres import PostgresStore
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"a postgresql:// store needs the package {error.name}:"
                " pip install 'duly[postgres]'"
            ) from None
        return PostgresStore(settings.store.url, pool_size=settings.store.pool)
    from duly.stores.memory import MemoryStore

    return MemoryStore(clock.now)


def make_ports(clock: Clock) -> Ports:
    """Return the machine as the engine sees it."""
    return Ports(clock=clock, keeper=ThreadKeeper, processes=HostProcesses())
