"""Duly on PostgreSQL, through asyncpg."""

from duly.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
