"""Identifiers: UUIDv7 made by the client, so that a resent verb carries the same id.

The layout is RFC 9562, section 5.7: 48 bits of Unix milliseconds, then version, variant and
74 random bits. Ids sort by their maker's clock, which orders work within a queue, but no
decision about due-ness or ownership ever reads the time inside one.
"""

from __future__ import annotations

from uuid import UUID


def uuid7(unix_ms: int, random_bits: int) -> UUID:
    """Build a UUIDv7 from milliseconds since 1970 and at least 74 random bits."""
    value = (unix_ms & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | ((random_bits >> 62) & 0xFFF) << 64
    value |= 0b10 << 62 | (random_bits & 0x3FFF_FFFF_FFFF_FFFF)
    return UUID(int=value)
