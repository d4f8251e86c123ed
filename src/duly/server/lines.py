"""How one log record becomes one line: text for a terminal, JSON for everything else.

What comes from outside (names, errors, reasons) may be hostile. So control characters, line
breaks of every alphabet, bidirectional overrides and lone surrogates leave here escaped, never
raw; values are cut to `VALUE_CHARACTERS`, tracebacks to their last `TRACE_CHARACTERS`. A record
is one line; only in text does a traceback follow, each of its lines behind a bar, so that none
can pass for a record. Nothing here filters, counts or writes.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from duly.events import Event

VALUE_CHARACTERS = 1_000
TRACE_CHARACTERS = 8_000

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_PLAIN = re.compile(r"[^\s\"=\\]+")
_EMPTY: Mapping[str, str] = MappingProxyType({})


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `event` or `message`, and the fields.

    Fields that are null are left out. `context` goes into every line; a field of the event wins
    over a word of the context. A traceback is the text `exception`.
    """

    def __init__(self, context: Mapping[str, str] = _EMPTY) -> None:
        super().__init__()
        self._context = dict(context)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._context,
            **_content(record),
        }
        if trace := _trace(record):
            line["exception"] = trace
        capped = {name: _capped(value) for name, value in line.items() if name != "exception"}
        text = json.dumps({**line, **capped}, ensure_ascii=False, separators=(",", ":"))
        # Whatever is still unsafe stands inside a string of the JSON: its escape is lossless.
        return _UNSAFE.sub(_as_json_escape, text)


class TextLines(logging.Formatter):
    """`time LEVEL event field=value …`; values with spaces, quotes or escapes are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        content = _content(record)
        said = str(content.pop("event", "") or content.pop("message", ""))
        head = f"{_time(record)} {record.levelname:7} {_visible(_capped(said))}"
        fields = [f"{name}={_quoted(value)}" for name, value in content.items()]
        line = " ".join([head, *fields])
        if trace := _trace(record):
            line += "".join(f"\n  | {_visible(part)}" for part in trace.split("\n"))
        return line


def _content(record: logging.LogRecord) -> dict[str, Any]:
    event = getattr(record, "event", None)
    if not isinstance(event, Event):
        return {"message": record.getMessage()}
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {"event": event.name} | {n: v for n, v in fields.items() if v is not None}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace(record: logging.LogRecord) -> str:
    """The end of the traceback, where the exception itself stands."""
    if not record.exc_info or record.exc_info == (None, None, None):
        return ""
    trace = logging.Formatter().formatException(record.exc_info)
    return trace if len(trace) <= TRACE_CHARACTERS else "… " + trace[-TRACE_CHARACTERS:]


def _capped(value: Any) -> Any:
    if not isinstance(value, str) or len(value) <= VALUE_CHARACTERS:
        return value
    return f"{value[:VALUE_CHARACTERS]}… ({len(value) - VALUE_CHARACTERS} more)"


def _quoted(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(_capped(value))
    if _PLAIN.fullmatch(text) and not _UNSAFE.search(text):
        return text
    doubled = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_visible(doubled)}"'


def _visible(text: str) -> str:
    """Write what a terminal would obey as what it is called."""
    return _UNSAFE.sub(_as_escape, text)


def _as_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return short or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def _as_json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
