"""Instants, lengths of time and errors in words, as they are shown to people.

Pure: the present is an argument. An instant is told on the clocks of a zone with its offset, so
that no reader has to guess; a length is rounded to its two largest units. Machines read RFC 3339
in UTC instead, by `rfc3339`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def instant_text(instant: datetime, zone: tzinfo = UTC) -> str:
    """Return `2026-03-01 01:00:00 +01:00`; fractions of a second are left out."""
    return instant.astimezone(zone).replace(microsecond=0).isoformat(" ").replace("+", " +")


def length_text(length: timedelta) -> str:
    """Return a length in its two largest units: `3 d 4 h`, `90 ms`; the sign is left out."""
    seconds = abs(length.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    left, parts = round(seconds), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def distance_text(instant: datetime, now: datetime) -> str:
    """Return `in 3 min` or `3 min ago`; within half a second it is `now`."""
    if abs(instant - now) < timedelta(seconds=0.5):
        return "now"
    text = length_text(instant - now)
    return f"in {text}" if instant > now else f"{text} ago"


def rfc3339(instant: datetime) -> str:
    """Return an instant for machines: UTC, with a `Z`."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def last_line(error: str | None, most: int = 200) -> str:
    """Return the line of a traceback that says what happened, cut to `most` characters."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    said = lines[-1] if lines else "no message"
    return said if len(said) <= most else said[: most - 1] + "…"
