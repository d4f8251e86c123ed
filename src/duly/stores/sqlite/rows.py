"""Between Python values and what SQLite keeps: instants, ids, structs.

Instants are integer microseconds since 1970 in UTC, ids blobs of 16 bytes, structs JSON text.
Every conversion is exact in both directions; nothing here touches a database.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID, SafeUUID

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_encoder = msgspec.json.Encoder()
_new, _set = object.__new__, object.__setattr__


def micros(at: datetime) -> int:
    """Return an instant as microseconds since 1970, exactly."""
    return (at - EPOCH) // _TICK


def micros_or_none(at: datetime | None) -> int | None:
    """Return `micros`, or None for None."""
    return None if at is None else (at - EPOCH) // _TICK


@lru_cache(maxsize=4096)
def instant(us: int) -> datetime:
    """Return the aware UTC instant of `us` microseconds since 1970. A batch shares few."""
    return EPOCH + timedelta(microseconds=us)


def instant_or_none(us: int | None) -> datetime | None:
    """Return `instant`, or None for None."""
    return None if us is None else instant(us)


def uuid_of(blob: bytes) -> UUID:
    """Return the id kept as 16 bytes. Half the time of `UUID(bytes=…)`, which checks again."""
    made: UUID = _new(UUID)
    _set(made, "int", int.from_bytes(blob, "big"))
    _set(made, "is_safe", SafeUUID.unknown)
    return made


def uuid_or_none(blob: bytes | None) -> UUID | None:
    """Return `uuid_of`, or None for None."""
    return None if blob is None else uuid_of(blob)


def json_text(value: Any) -> str:
    """Return a struct or plain value as JSON text."""
    return _encoder.encode(value).decode()


def json_or_none(value: Any) -> str | None:
    """Return `json_text`, or None for None."""
    return None if value is None else _encoder.encode(value).decode()


def marks(count: int, width: int = 1) -> str:
    """Return placeholders: `?,?,?` for width 1, else `count` groups of `(?,…)`."""
    one = "?" if width == 1 else "(" + ",".join("?" * width) + ")"
    return ",".join([one] * count)
