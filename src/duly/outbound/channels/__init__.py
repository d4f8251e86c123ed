"""Channels: how a notice reaches people. Each kind of channel imports its driver by itself."""

from __future__ import annotations

from duly.outbound.base import Channel
from duly.outbound.channels.base import ComeBackLater
from duly.outbound.channels.making import make_channel, make_channels

__all__ = ["Channel", "ComeBackLater", "make_channel", "make_channels"]
