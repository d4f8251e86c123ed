"""Frozen settings, one dataclass per room, built and checked once.

`load_settings` reads flags, environment and files, and remembers where each value came from;
`parse_store_url` says what a store's URL means. Nothing here connects to anything.
"""

from __future__ import annotations

from duly.config.loading import Loaded, load_settings
from duly.config.notify import ConfiguredChannel, NotifySettings
from duly.config.rooms import (
    CallSettings,
    EngineSettings,
    LogSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    is_loopback,
    settings_table,
)
from duly.config.specs import SettingDoc
from duly.config.urls import StoreKind, StoreUrl, mask_url, parse_store_url

__all__ = [
    "CallSettings",
    "ConfiguredChannel",
    "EngineSettings",
    "Loaded",
    "LogSettings",
    "NotifySettings",
    "ServerSettings",
    "SettingDoc",
    "Settings",
    "StoreKind",
    "StoreSettings",
    "StoreUrl",
    "is_loopback",
    "load_settings",
    "mask_url",
    "parse_store_url",
    "settings_table",
]
