"""How channels stand by which people are told, in lines of plain text.

One wording for the server's health and for the probes of a worker. A line says since when a channel
fails, why, and how much waits; no secret is part of a channel's why.
"""

from __future__ import annotations

from duly.core.spoken import rfc3339
from duly.core.telling import ChannelStanding


def channel_line(one: ChannelStanding) -> str:
    """Say how a channel stands, on one line that ends in a line break."""
    waits = f"; {one.waiting} notices and {one.untold} incidents wait"
    if one.failing_since is None:
        return f"channel {one.name}: ok{waits if one.waiting or one.untold else ''}\n"
    return f"channel {one.name}: failing since {rfc3339(one.failing_since)}: {one.why}{waits}\n"
